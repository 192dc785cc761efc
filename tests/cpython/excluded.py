"""CPython's tests that are not driven, each with the reason."""

from __future__ import annotations

EXCLUDED: dict[str, dict[str, str]] = {
    "executor": {
        "ProcessPoolExecutorTest.test_broken_process_pool_traceback": (
            "There the death of one process breaks the pool; here it costs its call alone, which runs again."
        ),
        "ProcessPoolExecutorTest.test_failed_worker_replacement_breaks_pool": (
            "It lets a private function fail that starts processes in the client; they are not started there."
        ),
        "ProcessPoolExecutorTest.test_force_shutdown_during_max_tasks_worker_exit": (
            "It sets a private flag of the pool."
        ),
        "ProcessPoolExecutorTest.test_force_shutdown_workers": (
            "It sees that the pool signals its process; the agent in the job does."
        ),
        "ProcessPoolExecutorTest.test_force_shutdown_workers_invalid_op": "It calls a private method.",
        "ProcessPoolExecutorTest.test_gc_during_max_tasks_worker_exit_gh152967": (
            "There the calls of a forgotten pool fail when their worker has run all it may; here they run."
        ),
        "ProcessPoolExecutorTest.test_kill_workers": "It replaces a private method.",
        "ProcessPoolExecutorTest.test_shutdown_no_wait_max_tasks_gh119592": (
            "There the calls of a forgotten pool fail when their worker has run all it may; here they run."
        ),
        "ProcessPoolExecutorTest.test_terminate_workers": "It replaces a private method.",
        "ProcessPoolExecutorTest.test_killed_child": (
            "There the death of one process breaks the pool; here it costs its call alone, which runs again."
        ),
        "ProcessPoolExecutorTest.test_max_tasks_per_child_defaults_to_spawn_context": (
            "It reads which context of multiprocessing was chosen; workers have none."
        ),
        "ProcessPoolExecutorTest.test_max_workers_too_large": "A limit of Windows.",
        "ProcessPoolExecutorTest.test_python_finalization_error": (
            "It lets the start of ProcessPoolExecutor's second thread fail; that thread is not here."
        ),
    },
    "future": {
        "FutureTests.test_cancel": (
            "It reads a private state, CANCELLED, that lasts until an executor's thread meets the call. Here cancel() "
            "tells the waiters at once."
        ),
    },
    "pool": {
        "TestPoolWorkerErrors.test_unpickleable_result": (
            "It wants a lambda to be a result that cannot be pickled; here it can."
        ),
        "TestPoolWorkerLifetime.test_pool_worker_lifetime": (
            "It reads the pool's list of processes; they are not the client's."
        ),
    },
}
"""By suite and name. A test that this Python does not have may stand here: another one has it."""
