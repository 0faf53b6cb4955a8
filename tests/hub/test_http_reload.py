"""POST /admin/reload-config on a hub with an admin: what it puts into force, and what it leaves as it was."""

from pathlib import Path

import aiohttp
from admin_probes import AdministeredHub
from http_probes import Answer, HttpClient


async def reloaded(hub: AdministeredHub, content: dict[str, object]) -> Answer:
    """The answer to a reload."""
    async with aiohttp.ClientSession() as session:
        return await HttpClient(session, f"http://{hub.http}", hub.listen).post("/admin/reload-config", content)


async def test_a_text_and_then_the_file(tmp_path: Path) -> None:
    """Each is in force once it is answered; a dry run only says what would be."""
    async with AdministeredHub(tmp_path).serve() as hub:
        first = (await hub.inspect()).version
        text = hub.text(("hub.min_net_edge_bps", 7.0))
        tried = await reloaded(hub, {"toml": text, "dry_run": True})
        assert (tried.status, tried.content["committed"]) == (200, False)
        assert tried.content["changed"] == ["hub.min_net_edge_bps"]
        assert (await hub.inspect()).version == first
        done = await reloaded(hub, {"toml": text})
        assert done.content["committed"] is True
        assert (await hub.inspect()).version == done.content["version"] != first
        back = await reloaded(hub, {})
        assert (await hub.inspect()).version == back.content["version"] != done.content["version"]


async def test_what_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    """400 for what is no configuration, 409 for one that cannot be put into force, with every reason."""
    async with AdministeredHub(tmp_path).serve() as hub:
        first = (await hub.inspect()).version
        for toml, status, said in (
            ("[hub]\ndedline_ms = 5", 400, "unknown key"),
            ("[hub", 400, "is not TOML"),
            (hub.text(("hub.depth", 3)), 409, "hub.depth: cannot change in what runs"),
            (hub.text(("hub.http_listen", "127.0.0.1:1")), 409, "hub.http_listen: cannot change in what runs"),
        ):
            answer = await reloaded(hub, {"toml": toml})
            assert (answer.status, answer.content["detail"]) == (status, "refused: nothing has changed")
            assert said in " ".join(answer.content["reasons"])
        assert (await hub.inspect()).version == first
