"""Site folders: every problem names its file, its node and its field."""

import json

import pytest

from vocelio.codecs import wav
from vocelio.gateway.errors import SiteFolderError
from vocelio.gateway.site.folder import SiteFolder

SITE = {
    "tenant": {"id": "harbour", "name": "Harbour Tools"},
    "numbers": {"+13072249663": {"flow": "hello"}},
    "departments": {"sales": {"numbers": ["+13105550111"]}},
}
FLOW = {"name": "Hello", "start": "bye", "nodes": {"bye": {"type": "hangup", "text": "Hello and goodbye."}}}


def write_folder(path, site=SITE, **flows):
    (path / "flows").mkdir()
    (path / "site.json").write_text(json.dumps(site))
    for name, flow in (flows or {"hello": FLOW}).items():
        (path / "flows" / f"{name}.json").write_text(json.dumps(flow))
    return path


async def test_site_folder_becomes_a_directory(tmp_path):
    directory = SiteFolder(write_folder(tmp_path)).to_directory()
    config = await directory.get_call_config("+13072249663")
    assert config is not None
    assert (config.flow, config.version.flow.name) == ("hello", "Hello")
    assert list(config.departments) == ["sales"]
    assert await directory.get_call_config("+13072249664") is None


def test_missing_site_file_is_reported(tmp_path):
    with pytest.raises(SiteFolderError, match=r"site\.json: cannot be read"):
        SiteFolder(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"numbers": {"13072249663": {"flow": "hello"}}}, "numbers"),
        ({"departments": {"sales": {"numbers": []}}}, "departments"),
        ({"departments": {"sales": {"numbers": ["12"]}}}, "departments"),
        ({"tenants": {}}, "tenants"),
        ({"numbers": {"+13072249663": {"flow": "helo"}}}, r"numbers\.\+13072249663\.flow: unknown flow `helo`"),
    ],
)
def test_invalid_site_file_is_reported(change, says, tmp_path):
    with pytest.raises(SiteFolderError, match=says):
        SiteFolder(write_folder(tmp_path, SITE | change))


def test_invalid_flow_is_reported_with_file_node_and_field(tmp_path):
    flow = FLOW | {"nodes": {"bye": {"type": "hangup", "txt": "Goodbye."}}}
    with pytest.raises(SiteFolderError, match=r"flows/hello\.json: nodes\.bye\.txt: .*did you mean `text`"):
        SiteFolder(write_folder(tmp_path, hello=flow))


def test_sounds_are_converted_to_mulaw(tmp_path):
    (tmp_path / "sounds").mkdir()
    wav.write_mono(tmp_path / "sounds" / "jingle.wav", bytes(2 * 44_100), 44_100)
    assert {name: len(mulaw) for name, mulaw in SiteFolder(write_folder(tmp_path)).sounds.items()} == {"jingle": 8_000}


def test_unusable_sound_is_reported(tmp_path):
    (tmp_path / "sounds").mkdir()
    (tmp_path / "sounds" / "jingle.wav").write_bytes(b"RIFF")
    with pytest.raises(SiteFolderError, match=r"sounds/jingle\.wav"):
        SiteFolder(write_folder(tmp_path))
