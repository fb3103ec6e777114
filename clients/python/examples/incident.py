"""Declares an incident, follows it until it is open, adds a note, and proposes a rollback that waits for approval.

HARMONY_API=http://127.0.0.1:8080 HARMONY_TOKEN=... PYTHONPATH=generated python examples/incident.py KEY

KEY identifies what happened, such as the id of an alert: run again with the same key, it declares nothing new.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from harmony_client import AuthenticatedClient
from harmony_client.api.blueprints.post_incidents_id_remediate import sync as remediate
from harmony_client.api.facts.post_incidents_id_notes import sync as add_note
from harmony_client.api.incidents.get_incidents_id import sync as read_incident
from harmony_client.api.incidents.post_incidents import sync as declare
from harmony_client.api.log.get_log_verify import sync as verify
from harmony_client.models import DeclareBody, Declared, Incident, NoteBody, Problem
from harmony_client.models import RemediateBody, Report, Started, Submitted
from harmony_graphql import HarmonyGraphql
from harmony_graphql.waiting import WaitingApprovals

ORG = "default"
T = TypeVar("T")


def expect(kind: type[T], answer: object) -> T:
    """The answer, where it is what was asked for; else ends with what is wrong and what to do."""
    if isinstance(answer, Problem):
        sys.exit(f"{answer.title}: {answer.detail}\n{answer.hint}")
    if not isinstance(answer, kind):
        sys.exit(f"expected {kind.__name__}, got {answer!r}")
    return answer


def until(what: str, look: Callable[[], T | None]) -> T:
    """Looks twice a second, for three minutes, until there is something."""
    for _ in range(360):
        if (found := look()) is not None:
            return found
        time.sleep(0.5)
    sys.exit(f"gave up waiting for {what}")


def main(key: str) -> None:
    api, token = os.environ["HARMONY_API"], os.environ["HARMONY_TOKEN"]
    client = AuthenticatedClient(api, token, raise_on_unexpected_status=True)
    graphql = HarmonyGraphql(f"{api}/graphql", {"Authorization": f"Bearer {token}"})

    body = DeclareBody(title="Checkout answers 500", severity="P2", service_name="checkout")
    declared = expect(Declared, declare(ORG, client=client, body=body, idempotency_key=key))
    id = declared.incident_id
    print(f"declared {id}")

    def opened() -> Incident | None:
        incident = expect(Incident, read_incident(ORG, id, client=client))
        return None if incident.state == "PENDING" else incident

    incident = until(f"{id} to open", opened)
    print(f"{id} is {incident.state}, commanded by {incident.commander or 'nobody'}")

    note = NoteBody(note="Errors began with release 2.4.1.")
    noted = expect(Submitted, add_note(ORG, id, client=client, body=note, idempotency_key=f"{key}-note"))
    print(f"noted as record {noted.seq}")

    rollback = RemediateBody(runbook="runbooks/rollback-deployment.md", reason="2.4.1 is bad")
    expect(Started, remediate(ORG, id, client=client, body=rollback, idempotency_key=f"{key}-rollback"))

    def waits() -> WaitingApprovals | None:
        return next((gate for gate in graphql.waiting().approvals if gate.incident_id == id), None)

    gate = until("the rollback to wait for approval", waits)
    print(f"{gate.action} waits until {gate.deadline} for {' or '.join(gate.required_roles)}")

    report = expect(Report, verify(ORG, client=client))
    found = "verified" if report.verified else "BROKEN"
    print(f"the log is {found}: {report.incidents} incidents, {report.records} records")


if __name__ == "__main__":
    main(sys.argv[1])
