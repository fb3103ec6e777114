"""Attacks a running installation from outside, and says what got through.

    attack.py LINE.json HARMONY

LINE.json is what `harmony dev --json` printed, HARMONY the program itself (for `log verify --file`). The policy must be the
default one: nothing that is sent by hand counts. Needs Python 3.10 and the package temporalio, whose SDK is another one than
Harmony's; nothing here is shared with the product, so what it believes is only what the doors, Temporal and the files say.

Ends with a table of attempts by section; exit code 1 where anything got through.
"""

import asyncio
import base64
import copy
import hashlib
import hmac
import http.client
import json
import pathlib
import random
import resource
import socket
import subprocess
import sys
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

from temporalio import workflow
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import ActivityType, Payload, Payloads
from temporalio.api.enums.v1 import CommandType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    PollWorkflowTaskQueueRequest,
    RespondWorkflowTaskCompletedRequest,
)
from temporalio.client import Client
from temporalio.common import RawValue, RetryPolicy, WorkflowIDReusePolicy
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

LINE = json.load(open(sys.argv[1]))
HARMONY = sys.argv[2]
DATA = pathlib.Path(LINE["dataDir"])
ADDRESS = urllib.parse.urlsplit(LINE["api"])
HEALTH = urllib.parse.urlsplit(LINE["health"]["serve"])
SLACK = urllib.parse.urlsplit(LINE["sandbox"]["slack"])
ORG = "/api/orgs/default"
DICE = random.Random(20260101)


class Tally:
    """What was tried, and what got through."""

    def __init__(self):
        self.tried = {}
        self.broken = []

    def sent(self, section):
        """Something whose answer says nothing: what came of it is looked at once all of them were sent."""
        self.tried[section] = self.tried.get(section, 0) + 1

    def held(self, section, name, held, seen=""):
        self.tried[section] = self.tried.get(section, 0) + 1
        if not held:
            self.broken.append((section, name, str(seen)[:400]))
            print(f"BROKEN {section}: {name}: {str(seen)[:400]}", flush=True)


TALLY = Tally()


# ---------------------------------------------------------------------------------------------------------- requests


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body or b"null")

    def __str__(self):
        return f"{self.status} {self.body[:300]!r}"


def ask(method, path, who=None, body=None, headers=None, timeout=20, at=ADDRESS):
    """One request; a body that is not bytes is sent as JSON."""
    connection = http.client.HTTPConnection(at.hostname, at.port, timeout=timeout)
    sent = dict(headers or {})
    if who is not None and "authorization" not in {name.lower() for name in sent}:
        sent["Authorization"] = f"Bearer {LINE['tokens'][who]}"
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        sent.setdefault("Content-Type", "application/json")
    try:
        connection.request(method, path, body=body, headers=sent)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    except (ConnectionError, http.client.HTTPException, socket.timeout) as error:
        return Answer(0, {}, repr(error).encode())
    finally:
        connection.close()


def raw(text, timeout=5):
    """Bytes as they are; gives what came back until it was quiet."""
    with socket.create_connection((ADDRESS.hostname, ADDRESS.port), timeout=timeout) as connection:
        connection.settimeout(2)
        got = b""
        try:
            connection.sendall(text)
            while len(got) < 100_000:
                some = connection.recv(65536)
                if not some:
                    break
                got += some
        except (socket.timeout, ConnectionError):
            pass
        return got


def until(what, look, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.2)
    raise SystemExit(f"waited {seconds} s for {what}")


def encoded(text):
    return urllib.parse.quote(text, safe="")


def declared(title, severity="P2"):
    """An incident that is open, everybody told."""
    answer = ask("POST", f"{ORG}/incidents", "operator", {"title": title, "severity": severity})
    assert answer.status == 201, answer
    incident = answer.json()["incidentId"]
    initiate = lambda: incident_state(incident).get("blueprints", {}).get("initiate", {}).get("status")
    until(f"{incident} to be initiated", lambda: initiate() in ("SUCCESS", "SUCCEEDED", "COMPLETED", "PARTIAL"))
    return incident


def incident_state(incident):
    return ask("GET", f"{ORG}/incidents/{incident}", "operator").json()


def gated(incident):
    """Asks for the sample runbook, and gives the gate that waits."""
    state = DATA / f"state-{incident}"
    body = {
        "runbook": "runbooks/rollback-deployment.md",
        "verify": ["postcheck"],
        "env": {"SAMPLE_STATE": str(state)},
    }
    answer = ask("POST", f"{ORG}/incidents/{incident}/remediate", "operator", body)
    assert answer.status == 202, answer
    return until(f"a gate of {incident}", lambda: incident_state(incident).get("gate"))


def ran(incident):
    """Whether a cell of its runbook ran."""
    return (DATA / f"state-{incident}").exists()


def records(incident):
    found = []
    while True:
        after = found[-1]["seq"] if found else 0
        page = ask("GET", f"{ORG}/incidents/{incident}/events?limit=200&after={after}", "admin").json()["events"]
        if not page:
            return found
        found += page


def kinds(incident):
    return [one["kind"] for one in records(incident)]


def fresh(incident, before):
    """What came on record since, but for what says that somebody was refused."""
    return [kind for kind in kinds(incident)[before:] if not kind.endswith("_REFUSED")]


def undecided(section, incident):
    """No decision counted, and no cell ran."""
    seen = kinds(incident)
    TALLY.held(section, "no decision on record", "APPROVAL_DECIDED" not in seen, seen)
    TALLY.held(section, "no cell ran", not ran(incident))


# ---------------------------------------------------------------------------------------------------------- sections


def operations():
    document = ask("GET", "/openapi.json").json()
    for path, item in document["paths"].items():
        for method in item:
            yield method.upper(), path


def filled(path, incident, gate, org="default"):
    place = "INC" if "/incidents/" in path else "other"
    named = {"INC": incident, "other": "nothing-like-it"}[place]
    return (
        path.replace("{org}", org)
        .replace("{gateId}", encoded(gate["gateId"]))
        .replace("{id}", named)
        .replace("{seq}", "2")
    )


def tokens(incident, gate):
    """Nobody without a token of the directory is answered."""
    section = "tokens"
    good = LINE["tokens"]["operator"]
    wrong = [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"bearer{good}",
        f"Basic {good}",
        f"Bearer {good[:-1]}",
        f"Bearer {good}0",
        f"Bearer {good.upper()}",
        f"Bearer  {good} x",
        f"Bearer {good}\t{good}",
        f"Token {good}",
        f"Bearer {hashlib.sha256(good.encode()).hexdigest()}",
        "Bearer null",
        "Bearer undefined",
        "Bearer ' OR 1=1 --",
        f"Bearer {good[::-1]}",
        f"Bearer hmy_{'0' * 64}",
        "Bearer " + base64.b64encode(good.encode()).decode(),
        "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.",
    ]
    for method, path in [
        ("GET", f"{ORG}/incidents"),
        ("GET", f"{ORG}/approvals"),
        ("POST", f"{ORG}/incidents"),
        ("POST", f"{ORG}/approvals/{encoded(gate['gateId'])}"),
        ("GET", f"{ORG}/log/export"),
        ("POST", "/mcp"),
        ("POST", "/graphql"),
    ]:
        for header in wrong:
            headers = {} if header is None else {"Authorization": header}
            body = None if method == "GET" else {"title": "by nobody", "severity": "P1", "decision": "approved"}
            answer = ask(method, path, body=body, headers=headers)
            TALLY.held(section, f"{method} {path} {header!r}", answer.status in (400, 401), answer)
    for cookie in ["harmony_session=", f"harmony_session={good}", "harmony_session=admin", "session=admin; user=admin"]:
        answer = ask("GET", "/orgs/default/incidents", headers={"Cookie": cookie})
        TALLY.held(section, f"page with {cookie[:24]}", answer.status in (302, 303, 307, 401), answer)
    undecided(section, incident)


def rights(incident, gate):
    """A viewer writes nothing but notes and actions; a deployer leads no incident."""
    section = "rights"
    may = ("/actions", "/notes", "/timeline", "/subscriptions", "/remove", "/follow-ups")
    for method, path in operations():
        if method == "GET":
            continue
        if path.endswith(may):
            continue
        for who in ("viewer", "deployer"):
            is_theirs = who == "deployer" and any(word in path for word in ("/services", "/environments", "/releases"))
            if is_theirs:
                continue
            before = len(records(incident))
            body = {
                "title": "not theirs",
                "severity": "P1",
                "state": "RESOLVED",
                "reason": "because",
                "decision": "approved",
                "digest": gate["digest"],
                "runbook": "runbooks/rollback-deployment.md",
            }
            answer = ask(method, filled(path, incident, gate), who, body)
            TALLY.held(section, f"{who} {method} {path}", 400 <= answer.status < 500, answer)
            after = fresh(incident, before)
            TALLY.held(section, f"{who} {method} {path} left a record", not after, after)
    undecided(section, incident)


def organisations(incident, gate):
    """Another organisation is as if it were not there, whether it is or not."""
    section = "organisations"
    for method, path in operations():
        for who in ("admin", "viewer"):
            for org in ("another", "Default", "default%00"):
                answer = ask(
                    method, filled(path, incident, gate, org), who, None if method == "GET" else {"title": "x"}
                )
                TALLY.held(section, f"{who} {method} {path} in {org}", answer.status in (400, 403, 404), answer)


def decisions(incident, gate, other, other_gate):
    """What the API takes as a decision is exactly what was shown, by who may."""
    section = "decisions"
    path = f"{ORG}/approvals/{encoded(gate['gateId'])}"
    digest, wrong = gate["digest"], other_gate["digest"]
    approved = {"decision": "approved", "digest": digest, "reason": "it is right"}
    for digest_ in (wrong, digest[:-1], digest[::-1], "", "0" * 64, None, 0, [digest], {"is": digest}, f" {digest}"):
        for who in ("commander", "oncall", "manager", "admin"):
            answer = ask("POST", path, who, {**approved, "digest": digest_})
            TALLY.held(section, f"{who} digest {digest_!r}", 400 <= answer.status < 500, answer)
    # Four eyes: the operator asked for it. The others have no gate role.
    for who in ("operator", "viewer", "deployer"):
        for more in (
            {},
            {"approverId": "commander"},
            {"approverName": "Chris Commander"},
            {"approverRoles": ["incident-commander"]},
            {"actedAs": "incident-commander"},
            {"source": "slack"},
            {"attestation": "00" * 32},
            {"breakGlass": True},
            {"breakGlass": True, "justification": "it burns"},
            {"quorum": 0},
            {"level": 9},
        ):
            answer = ask("POST", path, who, {**approved, **more})
            is_emergency = who == "operator" and more.get("justification")
            if is_emergency:
                # The requester may break the glass where the policy lets them: tried on an incident of its own below.
                continue
            TALLY.held(section, f"{who} with {more}", 400 <= answer.status < 500, answer)
            if answer.status < 300:
                return
    for word in ("approve", "APPROVED", "approved ", "yes", True, 1, None, ["approved"], "аpproved", "approved\u0000"):
        answer = ask("POST", path, "commander", {**approved, "decision": word})
        TALLY.held(section, f"decision {word!r}", 400 <= answer.status < 500, answer)
    gate_id = gate["gateId"]
    for name in (
        gate_id.replace("#1", "#2"),
        gate_id.replace("#1", "#01"),
        gate_id.lower(),
        gate_id + "/",
        gate_id + "%00",
        gate_id.replace("approve", "close"),
        "../" + gate_id,
        gate_id.replace(incident, "INC-2026-9999"),
        gate_id.replace("incident.", "incident.."),
        gate_id + "#1",
        " " + gate_id,
        gate_id.replace("-", "\u2010"),
    ):
        answer = ask("POST", f"{ORG}/approvals/{encoded(name)}", "commander", approved)
        TALLY.held(section, f"gate {name!r}", 400 <= answer.status < 500, answer)
    # The answer to one request is no answer to another.
    key = {"Idempotency-Key": "attack-1"}
    ask("POST", path, "viewer", approved, key)
    for who in ("operator", "viewer"):
        answer = ask("POST", path, who, approved, key)
        TALLY.held(section, f"{who} with the key of another", 400 <= answer.status < 500, answer)
    for header in (
        {"If-Match": '"1"'},
        {"X-HTTP-Method-Override": "PUT"},
        {"X-Forwarded-User": "commander"},
        {"X-Original-URL": path},
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Remote-User": "admin"},
    ):
        answer = ask("POST", path, "viewer", approved, header)
        TALLY.held(section, f"viewer with {header}", 400 <= answer.status < 500, answer)
    undecided(section, incident)
    undecided(section, other)


def callbacks(incident, gate):
    """What Slack did not sign, and now, is not taken."""
    section = "Slack"
    value = json.dumps({"gateId": gate["gateId"], "digest": gate["digest"]})
    payload = {
        "type": "block_actions",
        "user": {"id": "U0COMMANDER"},
        "team": {"id": "T0SANDBOX"},
        "actions": [{"action_id": "approve", "block_id": "approval", "value": value, "type": "button"}],
        "container": {"message_ts": "1.0", "channel_id": "C0000000001"},
        "trigger_id": "1.2.3",
    }
    form = urllib.parse.urlencode({"payload": json.dumps(payload)}).encode()
    command = urllib.parse.urlencode({"command": "/incident", "text": "list", "user_id": "U0COMMANDER"}).encode()
    event = json.dumps({"type": "event_callback", "event_id": "Ev1", "event": {"type": "app_home_opened"}}).encode()
    now = str(int(time.time()))
    secrets = [b"", b"secret", b"signing", b"0" * 32, LINE["token"].encode(), b"8f742231b10e8888abcd99yyyzzz85a5"]
    for path, body, kind in [
        ("/slack/interactions", form, "application/x-www-form-urlencoded"),
        ("/slack/commands", command, "application/x-www-form-urlencoded"),
        ("/slack/events", event, "application/json"),
    ]:
        for stamp in (now, "0", "-1", str(int(now) - 301), str(int(now) + 301), "1e9", "", "now", now + ".0"):
            for secret in secrets:
                mac = hmac.new(secret, b"v0:" + stamp.encode() + b":" + body, hashlib.sha256).hexdigest()
                for signature in (f"v0={mac}", f"v1={mac}"):
                    headers = {"X-Slack-Signature": signature, "X-Slack-Request-Timestamp": stamp, "Content-Type": kind}
                    answer = ask("POST", path, body=body, headers=headers)
                    TALLY.held(section, f"{path} {stamp!r} {secret[:6]!r}", answer.status in (400, 401, 403), answer)
        for headers in (
            {},
            {"X-Slack-Signature": "v0="},
            {"X-Slack-Request-Timestamp": now},
            {"X-Slack-Signature": "v0=" + "0" * 64},
            {"X-Slack-Signature": "v0=" + "0" * 64, "X-Slack-Request-Timestamp": now},
        ):
            answer = ask("POST", path, body=body, headers={**headers, "Content-Type": kind})
            TALLY.held(section, f"{path} with {sorted(headers)}", answer.status in (400, 401, 403), answer)
    # People whom the directory does not know, or who may not, click the true button.
    click = lambda body, headers=None: ask("POST", "/_sandbox/slack/click", body=body, headers=headers, at=SLACK)

    def question():
        return next((one for one in slack_messages() if gate["gateId"] in json.dumps(one)), None)

    message = until("the message that asks", question)
    for user in ("U0VIEWER", "U0OPERATOR", "U0NOBODY", "", "U0COMMANDER ", "u0commander", "USLACKBOT", "B0COMMANDER"):
        for action in ("approve", "Approve", "reject-all", "", "approval", "duty-0"):
            click({"messageTs": message["ts"], "actionId": action, "userId": user})
            TALLY.sent(section)
    answer = click(
        {"messageTs": message["ts"], "actionId": "approve", "userId": "U0COMMANDER"}, {"Origin": "https://evil.example"}
    )
    TALLY.held(section, "click from a page elsewhere", answer.status in (400, 403), answer)
    undecided(section, incident)


def webhooks(incident):
    """Who has no secret of a sender makes nothing happen."""
    section = "webhooks"
    body = json.dumps(
        {
            "event": {
                "id": "E1",
                "event_type": "incident.triggered",
                "occurred_at": "2026-01-01T00:00:00Z",
                "data": {"id": "P1", "title": "forged", "urgency": "high", "type": "incident"},
            },
            "alerts": [
                {"status": "firing", "labels": {"alertname": "Forged", "severity": "critical"}, "fingerprint": "f1"}
            ],
            "status": "firing",
            "groupKey": "g",
            "version": "4",
            "action": "created",
        }
    ).encode()
    before = ask("GET", f"{ORG}/incidents?limit=200", "admin").json()
    for sender in (
        "pagerduty",
        "alertmanager",
        "grafana",
        "github",
        "gitlab",
        "argocd",
        "cdevents",
        "jira",
        "opsgenie",
        "nobody",
        "../mcp",
        "events",
    ):
        digest = hmac.new(b"secret", body, hashlib.sha256).hexdigest()
        for headers in (
            {},
            {"Authorization": "Bearer x"},
            {"Authorization": f"Bearer {LINE['tokens']['admin']}"},
            {"X-PagerDuty-Signature": f"v1={digest}"},
            {"X-Hub-Signature-256": f"sha256={digest}", "X-GitHub-Event": "deployment", "X-GitHub-Delivery": "1"},
            {"X-Hub-Signature": f"sha256={digest}"},
            {"X-Gitlab-Token": "secret", "X-Gitlab-Event": "Deployment Hook"},
            {"X-Grafana-Alerting-Signature": digest},
            {"X-Harmony-Signature": digest},
            {"Ce-Type": "dev.cdevents.service.deployed.0.2.0", "Ce-Id": "1"},
        ):
            answer = ask(
                "POST", f"/webhooks/{sender}", body=body, headers={"Content-Type": "application/json", **headers}
            )
            TALLY.held(section, f"{sender} {sorted(headers)}", answer.status in (400, 401, 403, 404, 405, 503), answer)
    after = ask("GET", f"{ORG}/incidents?limit=200", "admin").json()
    TALLY.held(section, "nothing was made", len(before["incidents"]) == len(after["incidents"]))


def bodies(incident):
    """What is malformed is refused, with words, and nothing falls over."""
    section = "bodies"
    deep = b"[" * 100_000
    texts = [
        b"",
        b"{",
        b"null",
        b"[]",
        b"1",
        b'"x"',
        b"{}",
        deep,
        b'{"title":1}',
        b'{"title":null}',
        b'{"title":"x","severity":"P9"}',
        b'{"title":"' + b"x" * 300 + b'","severity":"P1"}',
        b'{"title":"\\ud800","severity":"P1"}',
        b'{"title":"x\x00","severity":"P1"}',
        b'{"title":"x","severity":"P1","unknown":1}',
        b"\xff\xfe\x00",
        b"\xef\xbb\xbf{}",
        b'{"title":"' + b"\xc0\xaf" + b'","severity":"P1"}',
        b"x" * 3_000_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b'{"title":"x","severity":"P1","impactedServices":' + json.dumps(["s"] * 20_000).encode() + b"}",
        b'{"title":"   ","severity":"P1"}',
        b'{"title":"x","severity":"P1","privateTo":[1]}',
        b'{"title":1e400,"severity":"P1"}',
    ]
    for path in (
        f"{ORG}/incidents",
        f"{ORG}/incidents/{incident}/notes",
        f"{ORG}/incidents/{incident}/severity",
        f"{ORG}/incidents/{incident}/remediate",
        f"{ORG}/candidates",
        f"{ORG}/services",
        "/graphql",
        "/mcp",
    ):
        before = len(records(incident))
        for text in texts:
            answer = ask(
                "POST",
                path,
                "viewer" if path.endswith("severity") else "admin",
                text,
                {"Content-Type": "application/json"},
            )
            # GraphQL and MCP tell of what is wrong in a 200.
            fine = answer.status in (400, 401, 403, 404, 405, 406, 409, 411, 413, 415, 422, 0) or (
                answer.status in (200, 202) and path in ("/graphql", "/mcp")
            )
            TALLY.held(section, f"{path} {text[:40]!r}", fine, answer)
        if path.startswith(f"{ORG}/incidents/"):
            left = fresh(incident, before)
            TALLY.held(section, f"{path} left nothing", not left, left)
    for path in (
        "limit=0",
        "limit=-1",
        "limit=1e9",
        "limit=99999999999999999999",
        "cursor=%00",
        "cursor=AAAA",
        "severity=P9",
        "sort=;drop",
        "unknown=1",
        "limit=1&limit=2",
        "cursor=" + "A" * 4000,
        "searchQuery=" + "%25" * 1000,
        "status=' OR '1'='1",
    ):
        answer = ask("GET", f"{ORG}/incidents?{path.replace(' ', '%20')}", "viewer")
        TALLY.held(section, f"?{path[:30]}", answer.status in (200, 400, 414, 422, 431), answer)
    host = f"{ADDRESS.hostname}:{ADDRESS.port}".encode()
    auth = b"Authorization: Bearer " + LINE["tokens"]["viewer"].encode() + b"\r\n"
    hidden = b"POST /api/orgs/default/incidents HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    for head in (
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Content-Length: 3\r\nContent-Length: 30\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: 0x10\r\n",
        b"Transfer-Encoding:\tchunked\r\n",
        b"Content-Length: 18446744073709551616\r\n",
        b" Content-Length: 5\r\n",
        b"Content-Length: 0\r\nX: a\rb\r\n",
    ):
        got = raw(
            b"POST /api/orgs/default/incidents HTTP/1.1\r\nHost: "
            + host
            + b"\r\n"
            + auth
            + head
            + b"\r\n0\r\n\r\n"
            + hidden
        )
        # At most the one refusal: what hides behind it is answered by nobody as a viewer's.
        TALLY.held(
            section,
            f"smuggled behind {head[:40]!r}",
            b" 201 " not in got and b" 200 " not in got.split(b"\r\n")[0],
            got[:200],
        )
    for line in (
        b"GET / HTTP/9.9",
        b"GET  / HTTP/1.1",
        b"GET /\x00 HTTP/1.1",
        b"\x16\x03\x01",
        b"PRI * HTTP/2.0",
        b"A" * 100_000,
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1",
        b"GET http://evil.example/ HTTP/1.1",
        b"CONNECT evil.example:443 HTTP/1.1",
    ):
        got = raw(line + b"\r\nHost: " + host + b"\r\n\r\n")
        TALLY.held(section, f"line {line[:30]!r}", b" 500 " not in got[:20] and b" 502 " not in got[:20], got[:100])
    TALLY.held(section, "still answers", ask("GET", f"{ORG}/incidents?limit=1", "viewer").status == 200)


def paths(incident):
    """Nothing leads out of where it belongs."""
    section = "paths"
    secret = (DATA / "attestation.key").read_bytes().strip()
    for path in (
        "/../../attestation.key",
        "/..%2f..%2fattestation.key",
        "/assets/../attestation.key",
        "/assets/%2e%2e/%2e%2e/token",
        "/assets/..%5c..%5ctoken",
        "/%2e%2e/token",
        "//etc/passwd",
        "/orgs/default/../../token",
        "/assets/console.js/../../token",
        "/file:///etc/passwd",
        "/assets/console.js%00.html",
        "/orgs/default/incidents/..%2f..%2ftoken",
    ):
        answer = ask("GET", path, "viewer")
        TALLY.held(
            section, path, secret not in answer.body and b"root:x" not in answer.body and answer.status != 500, answer
        )
    for runbook in (
        "../../attestation.key",
        "/etc/passwd",
        "runbooks/../../policy.toml",
        "..%2fpolicy.toml",
        "runbooks//../../../etc/passwd",
        "rollback-deployment.md\x00.png",
        "\\\\host\\share",
        "file:///etc/passwd",
        "http://169.254.169.254/",
        "runbooks/./../directory.toml",
        "~/.ssh/id_rsa",
        "rollback-deployment.md/../../token",
        "C:\\windows",
        "../tokens/admin",
        ".",
        "",
        "runbooks",
    ):
        answer = ask("POST", f"{ORG}/incidents/{incident}/verify", "oncall", {"runbook": runbook})
        TALLY.held(section, f"runbook {runbook!r}", 400 <= answer.status < 500 and b"root:" not in answer.body, answer)
        answer = ask("POST", f"{ORG}/incidents/{incident}/remediate", "viewer", {"runbook": runbook})
        TALLY.held(section, f"viewer's runbook {runbook!r}", 400 <= answer.status < 500, answer)


def pages(incident, gate):
    """A browser that is led here by somebody else changes nothing, and text stays text."""
    section = "pages"
    # The token is checked before the cookie is made, so this is a sign-in as a person makes it.
    form = urllib.parse.urlencode({"token": LINE["tokens"]["commander"]}).encode()
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    home = ask("GET", "/sign-in")
    before = home.headers.get("Set-Cookie", "").split(";")[0]
    answer = ask(
        "POST",
        "/sign-in",
        body=form,
        headers={**kind, "Cookie": before, "Origin": LINE["console"], "Sec-Fetch-Site": "same-origin"},
    )
    cookies = [value.split(";")[0] for name, value in answer.headers.items() if name.lower() == "set-cookie"]
    session = "; ".join(cookies)
    TALLY.held(section, "the sign-in itself", answer.status in (302, 303) and session, answer)
    page = ask("GET", f"/orgs/default/incidents/{incident}", headers={"Cookie": session})
    assert page.status == 200, page
    csrf = page.body.decode().split('name="csrf" value="')[1].split('"')[0]
    policy = page.headers.get("Content-Security-Policy", "")
    TALLY.held(
        section,
        "a policy without inline scripts",
        "unsafe-inline" not in policy and "script-src" in policy or "default-src 'none'" in policy,
        policy,
    )
    for name, value in (("X-Frame-Options", "DENY"), ("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", None)):
        TALLY.held(
            section,
            name,
            (page.headers.get(name) or policy)
            and (value is None or page.headers.get(name) == value or "frame-ancestors 'none'" in policy),
        )
    where = f"/orgs/default/approvals/{encoded(gate['gateId'])}"
    targets = [
        (f"/orgs/default/incidents/{incident}/do/notes", {"note": "from elsewhere"}),
        (f"/orgs/default/incidents/{incident}/do/status", {"state": "MITIGATING"}),
        (f"/orgs/default/incidents/{incident}/do/severity", {"severity": "P4", "reason": "x"}),
        (where, {"decision": "approved", "digest": gate["digest"]}),
        ("/orgs/default/incidents", {"title": "from elsewhere", "severity": "P1", "act": "declare"}),
    ]
    start = len(records(incident))
    for path, fields in targets:
        for origin in (
            "https://evil.example",
            "null",
            "http://127.0.0.1",
            LINE["sandbox"]["slack"],
            f"{LINE['console']}.evil.example",
        ):
            for token in (csrf, "", "0" * len(csrf), csrf[:-1], csrf.swapcase()):
                body = urllib.parse.urlencode({**fields, "csrf": token, "key": "k"}).encode()
                answer = ask(
                    "POST",
                    path,
                    body=body,
                    headers={**kind, "Cookie": session, "Origin": origin, "Sec-Fetch-Site": "cross-site"},
                )
                TALLY.held(
                    section, f"{path} from {origin} with {token[:6]!r}", answer.status in (400, 403, 404, 405), answer
                )
        for token in ("", "0" * len(csrf), csrf[::-1]):
            body = urllib.parse.urlencode({**fields, "csrf": token, "key": "k"}).encode()
            answer = ask(
                "POST",
                path,
                body=body,
                headers={**kind, "Cookie": session, "Origin": LINE["console"], "Sec-Fetch-Site": "same-origin"},
            )
            TALLY.held(section, f"{path} with {token[:6]!r}", answer.status in (400, 403, 404, 405), answer)
        body = json.dumps({**fields, "csrf": csrf}).encode()
        answer = ask(
            "POST",
            path,
            body=body,
            headers={"Content-Type": "text/plain", "Cookie": session, "Origin": LINE["console"]},
        )
        TALLY.held(section, f"{path} as text", answer.status >= 400, answer)
    for changed in (session[:-1], session + "0", session.upper(), "; ".join(reversed(session.split("=")))):
        answer = ask("GET", f"/orgs/default/incidents/{incident}", headers={"Cookie": changed})
        TALLY.held(section, "changed cookie", answer.status in (302, 303, 401), answer)
    # A cookie is no token of the API, where a form of another site could send it.
    answer = ask("POST", f"{ORG}/incidents/{incident}/notes", body={"note": "by cookie"}, headers={"Cookie": session})
    TALLY.held(section, "API by cookie", answer.status == 401, answer)
    TALLY.held(section, "no record came of it", len(records(incident)) == start, kinds(incident)[start:])
    for text in (
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "[x](javascript:alert(1))",
        "{{7*7}}",
        "<svg/onload=alert(1)>",
        "<!channel>",
        "<@U0COMMANDER>",
        "\u202etxt.exe",
        "```\n<b>",
        "&lt;b&gt;",
    ):
        answer = ask("POST", f"{ORG}/incidents/{incident}/notes", "operator", {"note": text})
        assert answer.status in (200, 201), answer
        shown = ask("GET", f"/orgs/default/incidents/{incident}", headers={"Cookie": session}).body.decode()
        bad = any(one in shown for one in ("<script>alert", "<img src=x", "<svg/onload", 'href="javascript:', "<b>\n"))
        TALLY.held(section, f"text {text!r}", not bad)
    for target in (
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "/%09/evil.example",
    ):
        answer = ask("GET", f"/sign-in?to={encoded(target)}")
        TALLY.held(section, f"led on to {target}", "evil.example" not in (answer.headers.get("Location") or ""), answer)


def logs(incident):
    """An export that was changed anywhere does not verify."""
    section = "log"
    export = DATA / "attack.jsonl"
    answer = ask("GET", f"{ORG}/log/export", "admin", timeout=60)
    assert answer.status == 200, answer
    export.write_bytes(answer.body)
    printed = subprocess.run(
        [HARMONY, "log", "checkpoint", "--print-key", "--data-dir", str(DATA)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    key = printed.stdout.strip().splitlines()[-1]

    def verified(path):
        done = subprocess.run(
            [HARMONY, "log", "verify", "--file", str(path), "--verifier-key", key], capture_output=True, timeout=60
        )
        return done.returncode == 0

    TALLY.held(section, "the true one verifies", verified(export))
    lines = answer.body.splitlines(keepends=True)
    changed = DATA / "changed.jsonl"

    def tried(name, some):
        changed.write_bytes(b"".join(some))
        TALLY.held(section, name, not verified(changed))

    for _ in range(60):
        at = DICE.randrange(len(lines))
        line = bytearray(lines[at])
        place = DICE.randrange(len(line) - 1)
        line[place] ^= 1 << DICE.randrange(7)
        if bytes(line) != lines[at] and json_differs(lines[at], bytes(line)):
            tried(f"bit of line {at} at {place}", lines[:at] + [bytes(line)] + lines[at + 1 :])
    for at in range(1, len(lines)):
        for field in ("hash", "salt"):
            written = f'"{field}":"'.encode()
            place = lines[at].find(written)
            if place >= 0:
                end = lines[at].index(b'"', place + len(written))
                line = lines[at][:place] + written + lines[at][place + len(written) : end].upper() + lines[at][end:]
                if line != lines[at]:
                    tried(f"{field} of line {at} in capitals", lines[:at] + [line] + lines[at + 1 :])
    for at in DICE.sample(range(len(lines)), 12):
        tried(f"without line {at}", lines[:at] + lines[at + 1 :])
        tried(f"line {at} twice", lines[: at + 1] + lines[at:])
    for _ in range(8):
        one, other = sorted(DICE.sample(range(len(lines)), 2))
        if lines[one] != lines[other]:
            swapped = lines[:]
            swapped[one], swapped[other] = swapped[other], swapped[one]
            tried(f"{one} and {other} exchanged", swapped)
    for share in (2, 3, 5, 9):
        tried(f"the first of {share} parts", lines[: len(lines) // share])
    for name, value in (
        ("actor", "admin"),
        ("text", "as it never was"),
        ("salt", "00" * 32),
        ("hash", "00" * 32),
        ("prevHash", "11" * 32),
        ("seq", 999),
    ):
        for at, line in enumerate(lines):
            document = json.loads(line)
            spot = find(document, name)
            if spot is not None and spot[name] != value:
                spot[name] = value
                tried(
                    f"another {name} in line {at}",
                    lines[:at] + [json.dumps(document).encode() + b"\n"] + lines[at + 1 :],
                )
                break


def json_differs(one, other):
    """Whether two lines say something else: a changed blank is no change."""
    try:
        return json.loads(one) != json.loads(other)
    except ValueError:
        return True


def find(document, name):
    if isinstance(document, dict):
        if name in document and not isinstance(document[name], (dict, list)):
            return document
        document = list(document.values())
    if isinstance(document, list):
        for one in document:
            found = find(one, name)
            if found is not None:
                return found
    return None


def crowds(gate):
    """One client does not take the place of the others."""
    section = "crowds"
    # A crowd takes more files than a shell usually gives.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most if most < 4_096 else 4_096, most))
    held = []
    for _ in range(120):
        connection = socket.create_connection((ADDRESS.hostname, ADDRESS.port), timeout=5)
        connection.sendall(b"POST /api/orgs/default/incidents HTTP/1.1\r\nHost: x\r\nContent-Le")
        held.append(connection)
    for _ in range(10):
        answer = ask("GET", f"{ORG}/incidents?limit=1", "commander", timeout=5)
        TALLY.held(section, "answered beside 120 half requests", answer.status == 200, answer)
    for connection in held:
        connection.close()
    streams = []
    refused = False
    request = (
        b"GET /api/orgs/default/audit HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nAuthorization: Bearer "
        + LINE["tokens"]["viewer"].encode()
        + b"\r\n\r\n"
    )
    for _ in range(1_500):
        connection = socket.create_connection((ADDRESS.hostname, ADDRESS.port), timeout=5)
        connection.sendall(request)
        connection.settimeout(5)
        streams.append(connection)
        refused = b" 200 " not in connection.recv(200)
        if refused:
            break
    TALLY.held(section, "one viewer's streams are bounded", refused, len(streams))
    for _ in range(10):
        answer = ask("GET", f"{ORG}/incidents?limit=1", "commander", timeout=5)
        TALLY.held(section, "answered beside as many streams as one may have", answer.status == 200, answer)
    for connection in streams:
        connection.close()
    decision = {"decision": "approved", "digest": gate["digest"], "reason": "I may not"}
    with ThreadPoolExecutor(8) as crowd:
        path = f"{ORG}/approvals/{encoded(gate['gateId'])}"
        answers = list(crowd.map(lambda _: ask("POST", path, "viewer", decision), range(160)))
    told = [answer.status for answer in answers]
    TALLY.held(section, "160 decisions of a viewer are refused", not {200, 202} & set(told), told)
    for name in ("worker", "serve"):
        TALLY.held(section, f"{name} outlives 160 decisions at once", is_alive(LINE["pids"][name]))
    with ThreadPoolExecutor(30) as crowd:
        verified = [crowd.submit(ask, "GET", f"{ORG}/log/verify", "viewer", timeout=60) for _ in range(30)]
        answer = ask("GET", "/readyz", at=HEALTH)
        TALLY.held(section, "ready beside 30 verifications", answer.status == 200, answer)
        told = [one.result().status for one in verified]
    TALLY.held(section, "two verifications at a time, the rest is told to wait", set(told) <= {200, 429}, told)
    size = lambda: len(metrics())
    before = size()
    for number in range(60):
        (
            raw(f"X{number} / HTTP/1.1\r\nHost: x\r\n\r\n".encode(), timeout=2)
            if number < 5
            else ask(f"X{number}", "/nothing")
        )
    TALLY.held(section, "unknown methods do not grow the metrics", size() - before < 3_000, size() - before)
    for _ in range(30):
        ask("POST", "/sign-in", body=b"token=wrong", headers={"Content-Type": "application/x-www-form-urlencoded"})
    TALLY.held(
        section,
        "wrong sign-ins take nobody's token away",
        ask("GET", f"{ORG}/incidents?limit=1", "commander").status == 200,
    )


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] not in "ZX"
    except OSError:
        return False


def metrics():
    return ask("GET", "/metrics", at=HEALTH).body


# --------------------------------------------------------------------------------------------------- Temporal's doors


@workflow.defn(name="attack", dynamic=False)
class Attack:
    """Schedules one activity of somebody else's."""

    @workflow.run
    async def run(self, order: dict) -> dict:
        from datetime import timedelta

        try:
            reply = await workflow.execute_activity(
                order["activity"],
                order["input"],
                task_queue=order["queue"],
                start_to_close_timeout=timedelta(seconds=10),
                schedule_to_start_timeout=timedelta(seconds=10),
                retry_policy=RetryPolicy(maximum_attempts=1),
                result_type=RawValue,
            )
            return {"reply": reply.payload.data.decode(errors="replace")[:300]}
        except Exception as error:  # whatever refuses it
            return {"refused": repr(getattr(error, "cause", None) or error)[:300]}


async def signals(client, incident, gate, other_gate):
    """What is sent to the workflow decides nothing: not as it is, nor claiming to be from a door."""
    section = "signals"
    handle = client.get_workflow_handle(gate["workflowId"])
    good = {
        "decision": "approved",
        "approverId": "commander",
        "gateId": gate["gateId"],
        "digest": gate["digest"],
        "decisionId": "00000000-0000-4000-8000-000000000001",
        "source": "slack",
        "decidedAt": gate["requestedAt"],
    }
    claims = [
        {},
        {"attestation": "00" * 32},
        {"attestation": "0" * 63},
        {"attestation": None},
        {"attestation": ""},
        {"attested": True},
        {"attested": "yes"},
        {"approverId": "admin"},
        {"approverId": "manager", "approverRoles": ["org-admin"]},
        {"approverId": "operator"},
        {"approverId": "nobody"},
        {"approverId": ""},
        {"breakGlass": True, "justification": "it burns"},
        {"digest": other_gate["digest"]},
        {"digest": ""},
        {"gateId": other_gate["gateId"]},
        {"gateId": ""},
        {"decidedAt": "1970-01-01T00:00:00Z"},
        {"decidedAt": "2999-01-01T00:00:00Z"},
        {"decidedAt": "soon"},
        {"source": "console"},
        {"source": "harmony"},
        {"level": 99},
        {"attestation": hmac.new(b"", b"", hashlib.sha256).hexdigest()},
        {"attestation": LINE["token"]},
        {"decision": "APPROVED"},
    ]
    documents = [{**good, **claim} for claim in claims]
    documents += [
        None,
        1,
        "approved",
        [],
        [good],
        {"Ok": good},
        {"payload": good},
        {},
        {"decision": "approved"},
        {"approved": True},
        True,
        "x" * 100_000,
        {"decision": "approved", "approverId": "commander"},
        [[["deep"]]],
        1e308,
        {"\u0000": 1},
    ]
    for document in documents:
        for name in ("approval", "approve", "decision", "decide", "wake"):
            try:
                await handle.signal(name, document)
            except Exception:
                pass
            TALLY.sent(section)
    for document in documents[:30]:
        for name in ("approval", "decide"):
            try:
                reply = await asyncio.wait_for(handle.execute_update(name, document, result_type=RawValue), 10)
                text = reply.payload.data.decode(errors="replace")
            except Exception as error:
                text = repr(error)
            TALLY.held(section, f"update {name} {str(document)[:60]}", '"approved"' not in text.lower(), text)
    for data in (b"", b"\xff\xfe", b"{", b"[" * 50_000):
        payload = Payload(metadata={"encoding": b"json/plain"}, data=data)
        try:
            await handle.signal("approval", RawValue(payload))
        except Exception:
            pass
        TALLY.sent(section)
    await asyncio.sleep(3)
    described = await handle.describe()
    TALLY.held(
        section,
        "the run goes on",
        described.status is not None and described.status.name == "RUNNING",
        described.status,
    )
    state = incident_state(incident).get("gate") or {}
    TALLY.held(
        section,
        "the gate is the same",
        state.get("gateId") == gate["gateId"] and state.get("digest") == gate["digest"],
        state,
    )
    undecided(section, incident)


async def starts(client, incident, gate):
    """A start by hand begins nothing."""
    section = "starts"
    for kind in (
        "incident.remediate",
        "incident.initiate",
        "incident.close-out",
        "incident.post-mortem",
        "release.deploy",
        "release.promote",
        "incident.act",
        "candidate.page",
        "incident.follow",
    ):
        for number, document in enumerate(
            (
                {},
                None,
                {"incidentId": incident},
                {"incidentId": incident, "initiatorId": "admin", "runbook": "runbooks/rollback-deployment.md"},
                {"org": "default", "incidentId": incident, "initiatorId": "admin", "start": {"attestation": "00" * 32}},
                {"incidentId": "INC-2099-0001", "initiatorId": "admin", "severity": "P1", "title": "by hand"},
            )
        ):
            before = len(records(incident))
            for name in (f"{kind}-{incident}#9", f"attack-{kind}-{number}"):
                try:
                    await client.start_workflow(
                        kind,
                        document,
                        id=name,
                        task_queue="harmony-incidents",
                        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                    )
                except Exception:
                    pass
            await asyncio.sleep(0.3)
            acted = [
                one
                for one in fresh(incident, before)
                if one not in ("BLUEPRINT_STARTED", "BLUEPRINT_COMPLETED", "BLUEPRINT_ORPHANED")
            ]
            TALLY.held(section, f"{kind} with {str(document)[:50]}", not acted, acted)
    undecided(section, incident)


async def activities(client, incident, gate, done):
    """A worker of somebody else's asks our queues for all that ours are asked, word for word and changed."""
    section = "activities"
    genuine = []
    for name in (f"incident.initiate-{incident}", gate["workflowId"], f"incident.remediate-{done}"):
        history = await client.get_workflow_handle(name).fetch_history()
        for event in history.events:
            if event.HasField("activity_task_scheduled_event_attributes"):
                asked = event.activity_task_scheduled_event_attributes
                genuine.append(
                    (asked.activity_type.name, asked.task_queue.name, json.loads(asked.input.payloads[0].data))
                )
    described = await client.get_workflow_handle(gate["workflowId"]).describe()
    scope = {
        "org": "default",
        "incident": incident,
        "workflowId": gate["workflowId"],
        "runId": described.run_id,
        "blueprint": "remediate",
        "attempt": 1,
        "step": "attack",
        "actor": "admin",
        "authority": "ON_CALL_SRE",
        "occurredAt": gate["requestedAt"],
    }
    decision = {
        "type": "decide",
        "input": {
            "workflowId": gate["workflowId"],
            "attempt": 1,
            "attested": "yes",
            "decidedAt": gate["requestedAt"],
            "payload": {
                "Ok": {
                    "decision": "approved",
                    "approverId": "commander",
                    "gateId": gate["gateId"],
                    "digest": gate["digest"],
                }
            },
        },
    }
    note = {"type": "record", "payload": {"incidentNoteAdded": {"note": "by admin, it says"}}}
    made = [("log.append", "harmony-incidents", {"scope": scope, "command": one}) for one in (decision, note)]
    made += [
        (
            "approval.judge",
            "harmony-incidents",
            {
                "scope": scope,
                "payload": decision["input"]["payload"],
                "payloadSha256": "00",
                "occurrence": 1,
                "signal": False,
            },
        ),
        ("approval.look", "harmony-incidents", {"scope": scope, "gateId": gate["gateId"]}),
        (
            "blueprint.begin",
            "harmony-incidents",
            {
                "workflowId": gate["workflowId"],
                "workflowType": "incident.remediate",
                "runId": "x",
                "initiatorId": "admin",
            },
        ),
        ("runbook.propose", "harmony-incidents", {"scope": scope, "path": "runbooks/rollback-deployment.md"}),
        ("candidate.open", "harmony-incidents", {"org": "default", "candidateId": "x"}),
        ("release.begin", "harmony-incidents", {"scope": scope}),
    ]
    mark = DATA / "state-attack"
    cells = [one for one in genuine if one[0] == "runbook.cell"]
    TALLY.held(section, "there are true cells to repeat", bool(cells))
    for name, queue, document in cells:
        for change in (
            {},
            {"source": f"touch {mark}"},
            {"env": {"SAMPLE_STATE": str(mark)}},
            {"secretEnv": ["HARMONY_TOKEN"]},
            {"workdir": "/"},
            {"cell": "other"},
            {"ticket": None},
            {"ticket": ""},
            {"incident": incident},
            {"run": 2},
            {"sha256": "00" * 32},
        ):
            made.append((name, queue, merged(document, change)))
    for name, queue, document in genuine:
        if name == "runbook.cell":
            continue
        made.append((name, queue, document))
        changed = copy.deepcopy(document)
        if "scope" in changed:
            changed["scope"] = {**scope, "step": "attack"}
        made.append((name, queue, changed))
        made.append((name, queue, {}))
        made.append((name, queue, "x"))
    said = len(slack_messages())
    before = kinds(incident), kinds(done)
    runner = UnsandboxedWorkflowRunner()
    state = tree(DATA / f"state-{done}")
    async with Worker(client, task_queue="attack", workflows=[Attack], workflow_runner=runner):
        for number, (name, queue, document) in enumerate(made):
            order = {"activity": name, "queue": queue, "input": document}
            for where in (f"attack-{number}", f"incident.follow-{incident}-{number}"):
                result = await client.execute_workflow(
                    Attack.run,
                    order,
                    id=where,
                    task_queue="attack",
                    id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                )
                # A cell that is not to run says so; whether it ran is looked at below.
                held = "refused" in result or '"ended":"could-not-start"' in result["reply"]
                TALLY.held(section, f"{name} {str(document)[:60]}", held, result)
    left = fresh(incident, len(before[0])) + fresh(done, len(before[1]))
    TALLY.held(section, "no record was written", not left, left)
    TALLY.held(section, "no command ran", not mark.exists() and tree(DATA / f"state-{done}") == state)
    TALLY.held(section, "nothing was said in Slack", len(slack_messages()) == said)
    undecided(section, incident)


def tree(folder):
    """What a runbook's cells left there, and when."""
    return sorted((str(one), one.stat().st_mtime_ns) for one in folder.rglob("*"))


def merged(document, change):
    """A change wherever the document has that name."""
    changed = copy.deepcopy(document)
    for name, value in change.items():
        spot = holder(changed, name)
        (spot if spot is not None else changed)[name] = value
    return changed


def holder(document, name):
    if isinstance(document, dict):
        if name in document:
            return document
        for one in document.values():
            found = holder(one, name)
            if found is not None:
                return found
    return None


def slack_messages():
    return ask("GET", "/_sandbox/state", at=SLACK).json()["messages"]


async def tasks(client, incident, gate):
    """Takes workflow tasks of true runs away from Harmony's workers, and answers them with commands of its own."""
    section = "tasks"
    handle = client.get_workflow_handle(gate["workflowId"])
    mark = DATA / "state-tasks"
    payload = Payload(
        metadata={"encoding": b"json/plain"},
        data=json.dumps(
            {
                "source": f"touch {mark}",
                "cell": "rollback",
                "ticket": "",
                "env": {},
            }
        ).encode(),
    )
    before = kinds(incident)
    taken = 0
    for round_ in range(20):
        polling = asyncio.create_task(
            client.workflow_service.poll_workflow_task_queue(
                PollWorkflowTaskQueueRequest(
                    namespace=client.namespace, task_queue=TaskQueue(name="harmony-incidents"), identity="attack"
                )
            )
        )
        for _ in range(6):
            try:
                await handle.signal("approval", {"decision": "approved", "approverId": "commander", "round": round_})
            except Exception:
                pass
            await asyncio.sleep(0.1)
        try:
            task = await asyncio.wait_for(polling, 3)
        except Exception:
            continue
        if not task.task_token:
            continue
        command = Command(command_type=CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK)
        attributes = command.schedule_activity_task_command_attributes
        attributes.activity_id = f"attack-{round_}"
        attributes.activity_type.CopyFrom(ActivityType(name="runbook.cell" if round_ % 2 else "log.append"))
        attributes.task_queue.CopyFrom(TaskQueue(name="harmony-runbooks" if round_ % 2 else "harmony-incidents"))
        attributes.input.CopyFrom(Payloads(payloads=[payload]))
        attributes.start_to_close_timeout.FromSeconds(10)
        attributes.retry_policy.maximum_attempts = 1
        try:
            await client.workflow_service.respond_workflow_task_completed(
                RespondWorkflowTaskCompletedRequest(
                    namespace=client.namespace, task_token=task.task_token, identity="attack", commands=[command]
                )
            )
        except Exception:
            pass
        taken += 1
        TALLY.sent(section)
    await asyncio.sleep(4)
    TALLY.held(section, "a task was taken at all", taken > 0)
    TALLY.held(section, "no command ran", not mark.exists() and not ran(incident))
    left = [
        one for one in fresh(incident, len(before)) if one.startswith(("APPROVAL_DECIDED", "RUNBOOK_CELL", "INCIDENT_"))
    ]
    TALLY.held(section, "no decision, no cell, no word", not left, left)


# ------------------------------------------------------------------------------------------------------------- the run


async def main():
    client = await Client.connect(LINE["temporal"], namespace=LINE["namespace"])
    incident, other, done, lost = (declared(title) for title in ("Attacked", "Beside it", "Run before", "To be lost"))
    gate, other_gate, done_gate = gated(incident), gated(other), gated(done)
    answer = ask(
        "POST",
        f"{ORG}/approvals/{encoded(done_gate['gateId'])}",
        "commander",
        {"decision": "approved", "digest": done_gate["digest"], "reason": "as it should be"},
    )
    assert answer.status == 200, answer
    until("the approved runbook to end", lambda: incident_state(done)["blueprints"]["remediate"]["status"] != "RUNNING")
    assert ran(done), "what is approved runs"
    for name, section in (
        ("tokens", lambda: tokens(incident, gate)),
        ("rights", lambda: rights(incident, gate)),
        ("organisations", lambda: organisations(incident, gate)),
        ("decisions", lambda: decisions(incident, gate, other, other_gate)),
        ("Slack", lambda: callbacks(incident, gate)),
        ("webhooks", lambda: webhooks(incident)),
        ("bodies", lambda: bodies(incident)),
        ("paths", lambda: paths(incident)),
        ("pages", lambda: pages(incident, gate)),
        ("log", lambda: logs(incident)),
    ):
        began = time.monotonic()
        await asyncio.to_thread(section)
        print(f"{name}: {time.monotonic() - began:.1f} s", flush=True)
    await signals(client, incident, gate, other_gate)
    await activities(client, incident, gate, done)
    await starts(client, incident, gate)
    lost_gate = gated(lost)
    await tasks(client, lost, lost_gate)
    await asyncio.to_thread(crowds, gate)
    report = ask("GET", f"{ORG}/log/verify", "admin", timeout=60).json()
    TALLY.held("log", "the log verifies after all of it", report.get("verified") is True, report)
    answer = ask(
        "POST",
        f"{ORG}/approvals/{encoded(gate['gateId'])}",
        "commander",
        {"decision": "approved", "digest": gate["digest"], "reason": "after all of it"},
    )
    TALLY.held("decisions", "who may still decides", answer.status == 200, answer)
    until("the runbook to run", lambda: ran(incident))
    print("| section | attempts | got through |\n|---|---:|---:|")
    for section, count in TALLY.tried.items():
        print(f"| {section} | {count} | {sum(one[0] == section for one in TALLY.broken)} |")
    total = sum(TALLY.tried.values())
    print(f"{total} attempts, {len(TALLY.broken)} got through")
    sys.exit(1 if TALLY.broken else 0)


asyncio.run(main())
