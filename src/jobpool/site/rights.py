"""Who may use what of a site, and how much: groups, accounts, QoS, licences, reservations.

Of several limits on the same thing the first of these holds: the partition's QoS, the job's QoS, the account; a
QoS may be said to come before the partition's (``Quota.over_partition``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from jobpool.model.request import AGENT_MEMORY, Request
from jobpool.model.rules import Rules
from jobpool.model.site import Account, Accounting, Amounts, Limits, Partition, Quota, Reservation, User
from jobpool.model.units import Duration, Memory
from jobpool.site.allocation import whole_nodes
from jobpool.site.nodes import cpus_taken
from jobpool.site.problem import Problem

__all__ = ["charged_to", "check_rights", "check_site", "job_times", "jobs_at_once", "reservation_notes"]


def check_site(request: Request, limits: Limits) -> list[Problem]:
    """Return what is not allowed in any partition: licences, reservation."""
    return [*_check_licenses(request, limits.licenses), *_check_reservation(request, limits)]


def check_rights(request: Request, partition: Partition, limits: Limits) -> list[Problem]:
    """Return what this user may not have in this partition."""
    problems = [*_check_entry(request, partition, limits.user), *_check_names(request, partition, limits)]
    accounting = limits.accounting
    if accounting is None:
        if request.account is not None:
            problems += _check_lists("account", request.account, partition)
        if request.qos is not None:
            problems += _check_lists("qos", request.qos, partition)
        return problems
    account = _account(request, partition, accounting)
    if account is None and accounting.enforces_accounts:
        return [*problems, _no_account(request, accounting)]
    if (name := request.account or accounting.default_account) is not None:
        problems += _check_lists("account", name, partition)
    if (qos := _qos(request, account)) is not None:
        problems += _check_lists("qos", qos, partition)
    if accounting.enforces_qos and account is not None and account.qos and qos not in (None, *account.qos):
        yours = ", ".join(account.qos)
        return [*problems, Problem("qos", f"the QoS {qos!r} is not one of account {account.name!r}; they are: {yours}")]
    if accounting.enforces_limits:
        problems += _check_quotas(request, partition, limits.rules, _quotas(request, partition, accounting))
    return problems


def jobs_at_once(request: Request, partition: Partition, limits: Limits) -> tuple[int | None, str]:
    """Return how many such jobs of this user run at once at most, and which limit says so. None: as many as fit."""
    accounting = limits.accounting
    if accounting is None or not accounting.enforces_limits:
        return None, ""
    quotas = _quotas(request, partition, accounting)
    found: list[tuple[int, str]] = []
    for counts in ([quota.max_jobs for quota in quotas], [quota.max_submit for quota in quotas]):
        most, name = _strongest(counts, quotas)
        if most is not None:
            found.append((int(most), f"{name} allows {most} job(s) at once"))
    for about, of in _BOUNDS_TOGETHER:
        for what, get, need in _needs(request, partition, limits.rules):
            most, name = _strongest([get(of(quota)) for quota in quotas], quotas)
            if most is not None and need:
                found.append((int(most // need), f"{name} allows {_written(most, what)} {about}"))
    return min(found, default=(None, ""))


def charged_to(request: Request, partition: Partition, accounting: Accounting) -> tuple[str | None, list[Quota]]:
    """Return the account that a job is charged to, as far as it is known, and the QoS that hold for it."""
    account = _account(request, partition, accounting)
    quotas = _quotas(request, partition, accounting)
    name = request.account or accounting.default_account
    return name, [quota for quota in quotas if account is None or quota is not account.quota]


def job_times(request: Request, partition: Partition, limits: Limits) -> Iterator[str]:
    """Say which walltime a job gets that does not ask for one."""
    if request.walltime is None:
        given = partition.default_time or partition.max_time
        if given is not None:
            yield f"walltime is not given: a job gets {given}, the default of partition {partition.name!r}"


def reservation_notes(request: Request, limits: Limits) -> Iterator[str]:
    """Say when the reservation begins and ends."""
    for found in limits.reservations or ():
        if found.name != request.reservation:
            continue
        if found.starts_in:
            yield f"reservation {found.name!r} begins in {_rounded(found.starts_in)}: jobs wait until then"
        if found.ends_in is not None:
            yield f"reservation {found.name!r} ends in {_rounded(found.ends_in)}, and its jobs with it"


# --------------------------------------------------------------------------------------------------- licences, entry


def _check_licenses(request: Request, licenses: tuple[str, ...] | None) -> Iterator[Problem]:
    if licenses is None:
        return
    there = {name: int(count) for name, _, count in (text.partition(":") for text in licenses) if count.isdecimal()}
    for text in (part.strip() for entry in request.licenses for part in entry.split(",")):
        name, _, number = text.replace("=", ":").partition(":")
        count = int(number) if number.isdecimal() else 1
        if name not in there:
            yield Problem("licenses", f"there is no licence {name!r}; there are: {', '.join(sorted(there)) or 'none'}")
        elif count > there[name]:
            yield Problem("licenses", f"{count} licences {name!r} are more than there are; at most {there[name]}")


def _check_reservation(request: Request, limits: Limits) -> Iterator[Problem]:
    if request.reservation is None or limits.reservations is None:
        return
    found = {each.name: each for each in limits.reservations}
    for name in request.reservation.split(","):
        if name not in found:
            has = ", ".join(sorted(found)) or "none"
            yield Problem("reservation", f"there is no reservation {name!r}; there are: {has}")
        elif (why := _closed_to(found[name], request, limits)) is not None:
            yield Problem("reservation", f"reservation {name!r} is not yours: {why}")


def _closed_to(reservation: Reservation, request: Request, limits: Limits) -> str | None:
    user = limits.user
    if user is not None and not user.privileged:
        if reservation.users and user.name not in reservation.users:
            return f"it is for {', '.join(reservation.users)}"
        if reservation.groups and not {*reservation.groups} & {*user.groups}:
            return f"it is for the group {', '.join(reservation.groups)}"
    account = request.account or (limits.accounting and limits.accounting.default_account)
    if reservation.accounts and account and account not in reservation.accounts:
        return f"it is for the account {', '.join(reservation.accounts)}, and the job's is {account!r}"
    return None


def _check_entry(request: Request, partition: Partition, user: User | None) -> Iterator[Problem]:
    name = partition.name
    if partition.needs_reservation and request.reservation is None:
        yield Problem("reservation", f"partition {name!r} takes jobs with a reservation only; give reservation=")
    if user is None or user.privileged:
        return
    if partition.root_only:
        yield Problem("partition", f"partition {name!r} is for administrators only")
    if partition.allow_users and user.name not in partition.allow_users:
        allowed = ", ".join(partition.allow_users)
        yield Problem("partition", f"partition {name!r} is for the user(s) {allowed}; you are {user.name}")
    if partition.allow_groups and not {*partition.allow_groups} & {*user.groups}:
        allowed, yours = ", ".join(partition.allow_groups), ", ".join(user.groups)
        yield Problem("partition", f"partition {name!r} is for the group(s) {allowed}; you are in: {yours}")


def _check_names(request: Request, partition: Partition, limits: Limits) -> Iterator[Problem]:
    """Ask whether a node is left: of the partition, of the reservation, without those that are excluded."""
    if not partition.node_names or not (request.exclude or request.reservation):
        return
    nodes = limits.rules.node_names(partition.node_names)
    for found in limits.reservations or ():
        if found.name == request.reservation and found.node_names:
            nodes &= limits.rules.node_names(found.node_names)
            if not nodes:
                text = f"reservation {found.name!r} has no node of partition {partition.name!r}: {found.node_names}"
                yield Problem("reservation", text)
                return
    if request.exclude and not nodes - limits.rules.node_names(",".join(request.exclude)):
        yield Problem("exclude", f"all nodes of partition {partition.name!r} that could be used are excluded")


def _check_lists(setting: str, value: str, partition: Partition) -> Iterator[Problem]:
    words = {"account": "account", "qos": "QoS"}
    allowed = partition.allow_accounts if setting == "account" else partition.allow_qos
    denied = partition.deny_accounts if setting == "account" else partition.deny_qos
    if allowed and value not in allowed:
        text = f"partition {partition.name!r} is not open to {words[setting]} {value!r}; it is to: {', '.join(allowed)}"
        yield Problem(setting, text)
    elif value in denied and not allowed:
        yield Problem(setting, f"partition {partition.name!r} is closed to {words[setting]} {value!r}")


# ------------------------------------------------------------------------------------------------------ accounts, QoS


def _account(request: Request, partition: Partition, accounting: Accounting) -> Account | None:
    name = request.account or accounting.default_account
    mine = [account for account in accounting.accounts if account.name == name]
    own = [account for account in mine if account.partition == partition.name]
    return next(iter(own or [account for account in mine if account.partition is None]), None)


def _no_account(request: Request, accounting: Accounting) -> Problem:
    yours = ", ".join(sorted({account.name for account in accounting.accounts}))
    if not yours:
        return Problem("account", "you have no account here: ask the site for one")
    if request.account is None:
        return Problem("account", f"your default account cannot be used here; give account=, one of: {yours}")
    return Problem("account", f"the account {request.account!r} is not yours here; yours are: {yours}")


def _qos(request: Request, account: Account | None) -> str | None:
    if request.qos is not None:
        return request.qos
    if account is None or (not account.qos and not account.default_qos):
        return None
    return account.default_qos or (account.qos[0] if len(account.qos) == 1 else "normal")


def _quotas(request: Request, partition: Partition, accounting: Accounting) -> list[Quota]:
    """Return the quotas that hold, the strongest first."""
    account = _account(request, partition, accounting)
    known = {quota.name: quota for quota in accounting.qos}
    of_partition, of_job = known.get(partition.qos or ""), known.get(_qos(request, account) or "")
    both = [of_job, of_partition] if of_job is not None and of_job.over_partition else [of_partition, of_job]
    return [*filter(None, both), *([] if account is None else [account.quota])]


def _check_quotas(request: Request, partition: Partition, rules: Rules, quotas: list[Quota]) -> Iterator[Problem]:
    longest, name = _strongest([quota.max_time for quota in quotas], quotas)
    # Where the partition has no default either, a job gets the quota's limit.
    asked = request.walltime or partition.default_time
    if longest is not None and asked is not None and asked > longest:
        whose = "walltime" if request.walltime else "walltime is not given, and the partition's default of"
        text = f"{whose} {asked} is longer than {name} allows; at most {Duration(longest)}"
        yield Problem("walltime", text, Duration(longest))
    for counts in ([quota.max_jobs for quota in quotas], [quota.max_submit for quota in quotas]):
        most, name = _strongest(counts, quotas)
        if most == 0:
            yield Problem("account" if name.startswith("account") else "qos", f"{name} allows no jobs")
    for what, get, need in _needs(request, partition, rules):
        whole = whole_nodes(request, partition, rules) if what == "CPUs" else ""
        takes = f"a job takes {_written(need, what)}" + (f" (a whole node: {whole})" if whole else "")
        for about, of in (*_BOUNDS_ALONE, *_BOUNDS_TOGETHER):
            most, name = _strongest([get(of(quota)) for quota in quotas], quotas)
            if most is not None and need > most:
                text = f"{takes}, and {name} allows {_written(most, what)} {about}"
                yield Problem(_SETTINGS[what], text, None if whole else _nearest(request, most, what, partition))
        least, name = _strongest([get(quota.at_least) for quota in quotas], quotas)
        if least is not None and need < least:
            yield Problem(_SETTINGS[what], f"{takes}, and {name} wants at least {_written(least, what)}")


_BOUNDS_ALONE: tuple[tuple[str, Callable[[Quota], Amounts]], ...] = (
    ("in a job", lambda quota: quota.per_job),
    ("on a node", lambda quota: quota.per_node),
)
_BOUNDS_TOGETHER: tuple[tuple[str, Callable[[Quota], Amounts]], ...] = (
    ("in all your jobs together", lambda quota: quota.together),
    ("in all jobs of all its users together", lambda quota: quota.of_all),
)

_SETTINGS = {"CPUs": "cores", "memory": "memory", "GPUs": "gpus"}


def _needs(
    request: Request, partition: Partition, rules: Rules
) -> Iterable[tuple[str, Callable[[Amounts], int | None], int]]:
    """Return, for each thing that quotas count: its name, its place in them, and how much of it a job takes."""
    return (
        ("CPUs", lambda amounts: amounts.cpus, cpus_taken(request, partition, rules)),
        ("memory", lambda amounts: amounts.memory, request.job_memory or 0),
        ("GPUs", lambda amounts: amounts.gpus, request.job_gpus),
    )


def _strongest(values: Sequence[float | None], quotas: Sequence[Quota]) -> tuple[float | None, str]:
    """Return the first value that is a limit, and whose it is."""
    for value, quota in zip(values, quotas, strict=True):
        if value is not None:
            return value, quota.name if quota.name.startswith("account ") else f"QoS {quota.name!r}"
    return None, ""


def _nearest(request: Request, most: float, what: str, partition: Partition) -> int | Memory:
    """Return the most for each worker that a job may have with this limit."""
    if what == "memory":
        return Memory(max(0, (int(most) - AGENT_MEMORY) // request.workers_per_job) // 2**20 * 2**20)
    threads = max((shape.threads_per_core for shape in partition.nodes), default=1) if what == "CPUs" else 1
    return int(most) // threads // request.workers_per_job


def _written(amount: float, what: str) -> str:
    return f"{Memory(amount)} memory" if what == "memory" else f"{int(amount)} {what}"


def _rounded(time: Duration) -> Duration:
    return Duration(time // 60 * 60) if time >= 60 else time
