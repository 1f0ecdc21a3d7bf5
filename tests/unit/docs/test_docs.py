"""The documents say what the code has: a field, a setting, a target or a command that is missing there fails here."""

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import msgspec
import pytest
import typer
from typer.main import get_command

from vocelio.engine.flow import Flow
from vocelio.engine.nodes import NODE_TYPES
from vocelio.engine.schema import schema_json as schema_document
from vocelio.gateway import config
from vocelio.gateway.api.routes import OPERATIONS
from vocelio.gateway.api.websockets import push_socket
from vocelio.gateway.cli import app
from vocelio.gateway.monitors.call_view import CallView
from vocelio.gateway.simulator.behavior import TwilioBehavior
from vocelio.gateway.store.calls.history import Outcome

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()
OPERATIONS_PAGE = (ROOT / "docs" / "operations.md").read_text()
COMMANDS = README + OPERATIONS_PAGE + (ROOT / "docs" / "tutorial.md").read_text()
FLOWS = (ROOT / "docs" / "flows.md").read_text()


@pytest.mark.parametrize("name", sorted(NODE_TYPES))
def test_every_node_type_and_field_is_described(name):
    section = re.search(rf"^### {name}\n(.*?)(?=^##|\Z)", FLOWS, re.MULTILINE | re.DOTALL)
    assert section, f"docs/flows.md has no section for {name}"
    fields = {field.name for field in msgspec.structs.fields(NODE_TYPES[name])} - {"exits"}
    assert {field for field in fields if f"`{field}`" not in section[1]} == set()
    assert {exit_name for exit_name in NODE_TYPES[name].exit_names if f"`{exit_name}`" not in section[1]} <= {"next"}


def test_every_field_of_the_flow_is_described():
    assert {f.name for f in msgspec.structs.fields(Flow) if f"`{f.name}`" not in FLOWS} == set()


def test_the_schema_for_editors_is_up_to_date():
    assert (ROOT / "docs" / "flow.schema.json").read_bytes() == schema_document()


def test_every_setting_is_on_the_operations_page():
    names = {*config._SETTING_NAMES, "PORT", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_WEBHOOK_KEYS"}
    assert {name for name in names if f"`{name}`" not in OPERATIONS_PAGE} == set()


def test_every_event_is_described():
    call = r'(?:publish|publish_transient|emit)\(\s*(?:record, |self\._record, )?"([a-z_]+\.[a-z_]+)"'
    types = {result for path in (ROOT / "vocelio").rglob("*.py") for result in re.findall(call, path.read_text())}
    described = (ROOT / "docs" / "events.md").read_text()
    assert len(types) > 30
    assert {name for name in types if f"`{name}`" not in described} == set()


def test_a_refused_call_can_be_searched_for():
    (described,) = re.findall(r"`outcome` is (.*?) \|", (ROOT / "docs" / "events.md").read_text())
    assert len(outcomes := set(re.findall("`([a-z_]+)`", described))) > 5
    assert outcomes <= set(get_args(Outcome))


def test_what_monitors_are_sent_is_described():
    described = (ROOT / "docs" / "monitoring.md").read_text()
    names = {field.name for field in msgspec.structs.fields(CallView)} | {
        str(code) for code in push_socket.CLOSE_REASONS
    }
    names |= {"snapshot", "event", "changes", "gap", "heartbeat", "format"}
    assert {name for name in names if name not in described} == set()


def test_every_documented_command_exists():
    commands = set(re.findall(r"\.venv/bin/vocelio ([a-z]+(?: [a-z]+(?= (?:examples|--)))?)", COMMANDS))
    assert {"serve", "flow promote", "key create"} <= commands
    for words in map(str.split, commands):
        result = get_command(app)
        for word in words:
            result = result.get_command(typer.Context(result), word)
            assert result, words


def test_every_documented_make_target_exists():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"(?:`|^    )make ([a-z-]+)", README, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_link_leads_somewhere():
    for document in [
        ROOT / "README.md",
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("examples/*.md"),
        *ROOT.glob("benchmarks/*.md"),
    ]:
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_every_simulator_switch_is_in_the_twilio_verification_page():
    checklist = (ROOT / "docs" / "twilio-verification.md").read_text()
    measured = {"reconnect_delay_seconds", "say_characters_per_second"}  # on real calls; a matter of taste
    names = {field.name for field in fields(TwilioBehavior)} - measured
    assert {name for name in names if f"`{name}`" not in checklist} == set()


def test_every_operation_is_on_the_api_page():
    documented = re.findall(r"^\| `([A-Z]+ \S+)` \| (\S+) \| \S", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
    operations = [(f"{row.method} {row.path}", row.permission or "-") for row in OPERATIONS]
    assert documented == operations


def test_every_defense_names_tests_that_exist():
    rows = re.findall(r"^\| (?!threat|---).* \|$", (ROOT / "docs" / "security.md").read_text(), re.MULTILINE)
    for row in rows:
        names = re.findall(r"`([\w/]+\.py)`", row.rstrip("|").rpartition(" | ")[2])
        assert names, f"no test: {row}"
        assert [name for name in names if not (ROOT / "tests" / name).exists()] == [], row
