"""Groups, accounts, QoS, licences, reservations, and what memory per CPU does: told before anything is queued."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobpool.batch.slurm.hostlist import expand
from jobpool.batch.slurm.rules import SlurmRules
from jobpool.model.errors import RequestRefused
from jobpool.model.request import Request
from jobpool.model.site import Account, Accounting, Amounts, Limits, NodeShape, Partition, Quota, Reservation, User
from jobpool.model.units import Duration, Memory
from jobpool.server.preflight import refuse_what_cannot_run
from jobpool.site.check import Verdict, check, choose_partition, judge
from jobpool.site.nodes import cores_given, cpus_taken

GIB, MIB = 2**30, 2**20
NODE = NodeShape(count=4, cores=16, threads_per_core=2, memory=Memory(64 * GIB), features=("fast", "ib"))
PLAIN = Partition(name="plain", default=True, max_time=Duration(3600), nodes=(NODE,), idle_cpus=128, usable_cpus=128)
ANN = User(name="ann", groups=("ann", "bio"))
LAB = Account(name="lab", qos=("normal", "long"), quota=Quota(name="account 'lab'"))
ACCOUNTING = Accounting(
    default_account="lab",
    accounts=(LAB,),
    qos=(Quota(name="normal"), Quota(name="long")),
    enforces_accounts=True,
    enforces_limits=True,
    enforces_qos=True,
)
OK = Request(cores=2, memory=Memory(2 * GIB), walltime=Duration(600))


def site(accounting: Accounting | None = None, user: User | None = ANN, **of_partition: Any) -> Limits:
    return Limits(
        rules=SlurmRules(),
        partitions=(replace(PLAIN, **of_partition),),
        licenses=("matlab:4",),
        reservations=(
            Reservation(name="course", users=("ann",), starts_in=Duration(0), ends_in=Duration(3661)),
            Reservation(name="tomorrow", groups=("bio",), starts_in=Duration(86400), ends_in=Duration(90000)),
            Reservation(name="theirs", users=("bob",)),
            Reservation(name="chem", groups=("chem",)),
            Reservation(name="paid", accounts=("second",)),
        ),
        user=user,
        accounting=accounting,
    )


def with_qos(**limits: Any) -> Accounting:
    return replace(ACCOUNTING, qos=(Quota(name="normal", **limits), Quota(name="long")))


@pytest.mark.parametrize(
    ("limits", "changes"),
    [
        (site(), {"constraint": "fast", "licenses": ("matlab:4",), "reservation": "course"}),
        (site(), {"constraint": "{fast|nowhere}"}),  # not to be read here: not guessed
        (site(), {"reservation": "tomorrow"}),
        (site(allow_groups=("bio",)), {}),
        (site(allow_groups=("daemon",), user=User(name="root", privileged=True)), {}),
        (site(allow_groups=("daemon",), user=None), {}),  # not known: not guessed
        (site(allow_accounts=("lab",), accounting=ACCOUNTING), {}),
        (site(accounting=replace(ACCOUNTING, enforces_limits=False, qos=(Quota(name="normal", max_jobs=0),))), {}),
        (site(accounting=with_qos(max_time=Duration(600), of_all=Amounts(cpus=4))), {}),
        (site(accounting=with_qos(max_time=Duration(300))), {"walltime": None}),  # SLURM takes the 5 minutes
        (site(accounting=with_qos(max_jobs=1)), {}),  # held back, not refused
        (site(max_cpus_per_node=2), {}),
        (site(qos="long", accounting=with_qos(max_time=Duration(60))), {"qos": "long"}),
        (site(), {"walltime": Duration(9999), "job_skip": ("--time",)}),
        (site(), {"walltime": Duration(9999), "job_extra": ("--time=10",)}),
        (site(), {"walltime": Duration(9999), "job_extra": ("-t 10",)}),
        (site(), {"partition": "no", "job_extra": ("#SBATCH --partition=plain",)}),
        (site(), {"partition": "no", "job_extra": ('-p "plain"',)}),
        (site(), {"partition": "no", "walltime": Duration(9999), "job_extra": ("--exclusive -t10 --partition plain",)}),
    ],
)
def test_what_is_allowed(limits: Limits, changes: dict[str, Any]) -> None:
    assert check(replace(OK, **changes), limits) == []


@pytest.mark.parametrize(
    ("limits", "changes", "setting", "nearest", "words"),
    [
        (site(), {"licenses": ("matlab:5",)}, "licenses", None, "at most 4"),
        (site(), {"licenses": ("matlab,idl:1",)}, "licenses", None, "no licence 'idl'; there are: matlab"),
        (site(), {"constraint": "slow"}, "constraint", None, "there are: fast, ib"),
        (site(), {"reservation": "gone"}, "reservation", None, "there are: chem, course, paid, theirs, tomorrow"),
        (site(), {"reservation": "theirs"}, "reservation", None, "it is for bob"),
        (site(), {"reservation": "chem"}, "reservation", None, "for the group chem"),
        (site(ACCOUNTING), {"reservation": "paid"}, "reservation", None, "the job's is 'lab'"),
        (site(needs_reservation=True), {}, "reservation", None, "give reservation="),
        (site(root_only=True), {}, "partition", None, "administrators"),
        (site(min_nodes=2), {}, "partition", None, "at least 2 nodes"),
        (site(max_cpus_per_node=8), {"cores": 9}, "cores", 8, "at most 8"),
        (site(), {"threads_per_core": 4}, "threads_per_core", 2, "2 hardware thread"),
        (site(allow_groups=("chem",)), {}, "partition", None, "you are in: ann, bio"),
        (site(allow_accounts=("second",), accounting=ACCOUNTING), {}, "account", None, "it is to: second"),
        (site(deny_accounts=("lab",), accounting=ACCOUNTING), {}, "account", None, "closed to account 'lab'"),
        (site(allow_qos=("long",), accounting=ACCOUNTING), {}, "qos", None, "not open to QoS 'normal'"),
        (site(ACCOUNTING), {"qos": "gold"}, "qos", None, "they are: normal, long"),
        (site(ACCOUNTING), {"account": "other"}, "account", None, "yours are: lab"),
        (site(replace(ACCOUNTING, accounts=())), {}, "account", None, "no account here"),
        (site(with_qos(max_time=Duration(300))), {}, "walltime", Duration(300), "QoS 'normal' allows; at most 5 min"),
        (site(with_qos(max_time=Duration(300)), default_time=Duration(3600)), {"walltime": None}, "walltime",
         Duration(300), "the partition's default of 1 h is longer than QoS 'normal' allows"),
        (site(with_qos(per_job=Amounts(cpus=2))), {}, "cores", 1, "takes 4 CPUs, and QoS 'normal' allows 2 CPUs"),
        (site(with_qos(of_all=Amounts(cpus=2))), {}, "cores", 1, "together"),
        (site(with_qos(per_node=Amounts(memory=Memory(GIB)))), {}, "memory", Memory(768 * MIB), "1 GiB memory on a"),
        (site(with_qos(at_least=Amounts(cpus=8))), {}, "cores", None, "wants at least 8 CPUs"),
        (site(with_qos(max_submit=0)), {}, "qos", None, "allows no jobs"),
        (site(qos="long", accounting=replace(ACCOUNTING, qos=(
            Quota(name="normal", max_time=Duration(900)), Quota(name="long", max_time=Duration(60))))),
         {}, "walltime", Duration(60), "QoS 'long'"),
        (site(qos="long", accounting=replace(ACCOUNTING, qos=(
            Quota(name="normal", max_time=Duration(60), over_partition=True), Quota(name="long"))) ),
         {}, "walltime", Duration(60), "QoS 'normal'"),
    ],
)  # fmt: skip
def test_what_is_not(limits: Limits, changes: dict[str, Any], setting: str, nearest: object, words: str) -> None:
    (problem,) = check(replace(OK, **changes), limits)
    assert (problem.setting, problem.nearest) == (setting, nearest)
    assert words in problem.text


@pytest.mark.parametrize(
    ("cores", "threads", "mebibytes", "given"),
    # What SLURM 22.05 did with MaxMemPerCPU=2000 on nodes of 16 cores with 2 threads.
    [(1, 1, 2000, 1), (1, 1, 4000, 2), (1, 1, 9000, 5), (4, 1, 9000, 4), (4, 1, 16000, 8), (4, 1, 17000, 8),
     (1, 1, 32000, 16), (4, 1, 32000, 16), (3, 1, 32000, 15), (4, 2, 33000, 8), (4, 2, 64000, 16)],
)  # fmt: skip
def test_memory_per_cpu_raises_the_cores(cores: int, threads: int, mebibytes: int, given: int) -> None:
    partition = replace(PLAIN, max_memory_per_cpu=Memory(2000 * MIB))
    request = Request(cores=cores, threads_per_core=threads, memory=Memory((mebibytes - 256) * MIB))
    assert cores_given(request, partition, SlurmRules()) == given
    assert cpus_taken(request, partition, SlurmRules()) == 2 * given
    assert check(request, Limits(rules=SlurmRules(), partitions=(partition,))) == []
    notes = judge(request, Limits(rules=SlurmRules(), partitions=(partition,))).notes
    assert any(f"{given} cores instead of {cores}" in note for note in notes) == (given > cores)


@pytest.mark.parametrize(("cores", "threads", "mebibytes"), [(1, 1, 33000), (4, 1, 33000), (4, 2, 65000)])
def test_memory_that_all_cpus_of_a_node_do_not_have(cores: int, threads: int, mebibytes: int) -> None:
    limits = Limits(rules=SlurmRules(), partitions=(replace(PLAIN, max_memory_per_cpu=Memory(2000 * MIB)),))
    request = Request(cores=cores, threads_per_core=threads, memory=Memory((mebibytes - 256) * MIB))
    (problem,) = check(request, limits)
    assert problem.nearest == Memory((32000 * threads - 256) * MIB)
    assert check(replace(request, memory=Memory(problem.nearest)), limits) == []


def test_quotas_that_hold_back_are_noted_with_the_number_of_workers() -> None:
    request = replace(OK, workers_per_job=2)
    verdict = judge(request, site(with_qos(max_jobs=3, together=Amounts(cpus=16))), max_workers=100)
    assert verdict.ok
    # 2 workers of 2 cores are 8 CPUs.
    assert any("2 of these jobs run at once, so 4 of 100 workers" in note for note in verdict.notes)
    assert not any("at once" in note for note in judge(request, site(ACCOUNTING), max_workers=100).notes)


def test_a_reservation_says_when_it_begins_and_ends() -> None:
    notes = judge(replace(OK, reservation="tomorrow"), site()).notes
    assert notes == (
        "reservation 'tomorrow' begins in 1 d: jobs wait until then",
        "reservation 'tomorrow' ends in 1 d 1 h, and its jobs with it",
    )


BUSY = replace(PLAIN, name="busy", default=False, max_time=None, idle_cpus=0, waiting=50)
FREE = replace(BUSY, name="free", idle_cpus=100, waiting=3)
SCAVENGED = replace(FREE, name="scavenged", tier=0, waiting=0)
OFF = replace(FREE, name="off", up=False)
CLOSED = replace(FREE, name="closed", allow_groups=("chem",))
MANY = Limits(rules=SlurmRules(), partitions=(PLAIN, BUSY, SCAVENGED, FREE, OFF, CLOSED), user=ANN)
LONG = replace(OK, walltime=Duration(7200))


def test_partitions_that_would_do_are_told_fastest_start_first() -> None:
    verdict = judge(LONG, MANY)
    assert not verdict.ok
    assert [(fit.partition, fit.room, fit.waiting) for fit in verdict.fits] == [
        ("free", True, 3), ("scavenged", True, 0), ("busy", False, 50),
    ]  # fmt: skip
    assert "free: 100 CPUs idle, 3 jobs waiting" in str(verdict)


def test_auto_takes_the_partition_that_starts_first() -> None:
    asked = replace(LONG, partition="auto")
    assert check(asked, MANY) == []
    assert choose_partition(asked, MANY).partition == "free"
    assert judge(asked, MANY).partition == "free"
    assert choose_partition(replace(OK, partition="auto"), MANY).partition == "plain"


def test_auto_leaves_gpus_to_those_who_need_them() -> None:
    gpu = replace(FREE, name="gpu", waiting=0, nodes=(replace(NODE, gpus=4),))
    limits = replace(MANY, partitions=(*MANY.partitions, gpu))
    asked = replace(LONG, partition="auto")
    assert choose_partition(asked, limits).partition == "free"
    assert choose_partition(replace(asked, gpus=1), limits).partition == "gpu"


def test_auto_that_fits_nowhere_says_what_is_nearest() -> None:
    (problem,) = check(replace(LONG, partition="auto", cores=17), MANY)
    assert (problem.setting, problem.nearest) == ("cores", 16)
    assert "it fits no partition" in problem.text


def test_auto_without_partitions() -> None:
    asked = replace(OK, partition="auto")
    (problem,) = check(asked, Limits(unknown=("partitions: no answer",)))
    assert "no answer" in problem.text
    # This machine has none, and says so.
    assert check(asked, Limits()) == []
    assert choose_partition(asked, Limits()).partition is None


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a", {"a"}),
        ("a1,b2", {"a1", "b2"}),
        ("n[1-3,7],gpu1", {"n1", "n2", "n3", "n7", "gpu1"}),
        ("n[08-10]-ib", {"n08-ib", "n09-ib", "n10-ib"}),
        ("r[1-2]n[1-2]", {"r1n1", "r1n2", "r2n1", "r2n2"}),
        ("n[1-9999][1-9999]", {"n[1-9999][1-9999]"}),  # more than any cluster has
        ("", set()),
    ],
)
def test_names_of_nodes(text: str, names: set[str]) -> None:
    assert expand(text) == names


@given(st.text(alphabet="n[],-019", max_size=12))
def test_any_text_for_names_ends(text: str) -> None:
    expand(text)


def test_a_reservation_and_a_partition_need_a_node_in_common() -> None:
    limits = replace(
        site(node_names="n[1-4]"),
        reservations=(Reservation(name="course", node_names="n[4-6]"), Reservation(name="far", node_names="n9")),
    )
    assert check(replace(OK, reservation="course", exclude=("n[1-3]",)), limits) == []
    (far,) = check(replace(OK, reservation="far"), limits)
    assert far.text == "reservation 'far' has no node of partition 'plain': n9"
    (excluded,) = check(replace(OK, reservation="course", exclude=("n4",)), limits)
    assert excluded.setting == "exclude"
    (everything,) = check(replace(OK, exclude=("n[1-2]", "n3,n4")), limits)
    assert everything.setting == "exclude"


def test_what_is_unknown_is_said() -> None:
    verdict = judge(OK, replace(MANY, unknown=("accounts: no answer in 15 s",)))
    assert verdict.ok
    assert "Not known: accounts: no answer in 15 s" in str(verdict)


def test_a_verdict_is_plain_data() -> None:
    data = judge(LONG, MANY).as_data()
    assert (data["ok"], data["partition"]) == (False, "plain")
    assert data["problems"][0]["setting"] == "walltime"
    assert data["problems"][0]["nearest"] == 3600
    assert data["fits"][0] == {"partition": "free", "room": True, "idle_cpus": 100, "waiting": 3}


def test_the_pools_own_check_says_where_it_would_fit() -> None:
    with pytest.raises(RequestRefused) as caught:
        refuse_what_cannot_run(LONG, MANY)
    assert "free, scavenged, busy" in str(caught.value)
    assert isinstance(judge(OK, MANY), Verdict)
    refuse_what_cannot_run(OK, MANY)
