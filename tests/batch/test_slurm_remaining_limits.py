"""What SLURM says is left of the limits of accounts and QoS, read from what a real one said."""

from __future__ import annotations

from dataclasses import replace

import pytest
from goldens import golden
from hypothesis import given
from hypothesis import strategies as st

from jobpool.batch.explainer import Used
from jobpool.batch.slurm.usage import command, parse
from jobpool.model.command import Command, Completed
from jobpool.model.site import Quota

MAXJOBS, NORMAL = Quota(name="maxjobs", max_jobs=2), Quota(name="normal")


def left(*, account: str | None = "lab", qos: Quota = MAXJOBS, uid: int = 1001) -> set[Used]:
    found = parse(golden("assoc_mgr", "two accounts"), user="ann", uid=uid, account=account, qos=[qos])
    assert found is not None
    return set(found)


OF_ACCOUNT = {
    ("jobs at once (you, account 'lab')", 3, 3),
    ("jobs in the queue (you, account 'lab')", 5, 4),
    ("CPUs at once (you, account 'lab')", 6, 6),
    # Those of the account above it hold, too.
    ("jobs at once (account 'root')", 50, 3),
    ("CPU minutes (account 'root')", 1000, 0),
    ("GPU minutes (account 'root')", 50, 0),
}
OF_QOS = {
    ("jobs at once (you, QoS 'maxjobs')", 2, 1),
    ("CPU minutes (QoS 'maxjobs')", 500, 0),
    ("CPU minutes that running jobs have left (QoS 'maxjobs')", 300, 20),
    ("nodes at once (account 'lab', QoS 'maxjobs')", 3, 1),
}


def test_what_holds_for_the_account_and_all_above_it_and_for_the_qos() -> None:
    assert left() == OF_ACCOUNT | OF_QOS
    assert left(qos=NORMAL) == OF_ACCOUNT | {("minutes of walltime (QoS 'normal')", 600, 0)}


def test_of_another_account_and_of_the_default_one() -> None:
    second = {entry for entry in left(account="second", qos=NORMAL) if "second" in entry[0]}
    assert ("jobs at once (you, account 'second')", 3, 0) in second
    assert ("jobs at once (you, account 'root')", 3, 0) in left(account=None, qos=NORMAL)


def test_a_qos_in_which_the_user_has_no_jobs() -> None:
    assert ("jobs at once (you, QoS 'maxjobs')", 2, 0) in left(uid=7)
    of_submits = left(qos=Quota(name="maxsubmit", max_submit=3))
    assert ("jobs in the queue (you, QoS 'maxsubmit')", 3, 0) in of_submits


def test_nothing_is_left_without_accounting_and_nothing_known_without_an_answer() -> None:
    assert parse(golden("assoc_mgr", "no accounting"), user="ann", uid=1, account=None, qos=[]) == ()
    broken = replace(golden("assoc_mgr", "two accounts"), returncode=1)
    assert parse(broken, user="ann", uid=1, account=None, qos=[]) is None
    assert command("ann").argv[-1] == "users=ann"


pieces = [
    "ClusterName=x",
    " Account=a",
    " UserName=ann(1)",
    " ParentAccount=a(1)",
    "\n",
    "QOS=q(1)",
    " User Limits= 1={",
    "}",
]
pieces += [" GrpJobs=3(1)", " GrpTRES=cpu=", "N(0)", ",", "=", "99999999999999999999(1)", "Association Manager"]


@given(st.lists(st.sampled_from(pieces), max_size=40).map("".join))
def test_no_answer_makes_the_parser_raise(text: str) -> None:
    done = Completed(Command(("scontrol",)), 0, f"Association Manager\n{text}")
    found = parse(done, user="ann", uid=1, account="a", qos=[Quota(name="q")])
    assert found is not None


@pytest.mark.parametrize("account", ["no such", ""])
def test_an_account_that_is_not_there_has_no_limits(account: str) -> None:
    assert left(account=account, qos=NORMAL) == {("minutes of walltime (QoS 'normal')", 600, 0)}
