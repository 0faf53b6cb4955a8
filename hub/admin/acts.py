"""Changing the hub while it runs: what the admin port, the HTTP port and SIGHUP have done, one act after the other.

An act is done to its end even if whoever asked for it goes away meanwhile. Every act and every refusal is a line of
the audit trail. Results are JSON values under the names of arbhub.v1.admin.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

import structlog

from arbhub.catalogue import BadEntryError, Fact, RegistryDownError
from arbhub.security.audit import Audit
from arbhub.service import ServiceError
from arbhub.settings.load import SettingsError
from arbhub.settings.schema import Settings
from arbhub.settings.source import Source
from arbhub.state import ACTIVE, TRADING_STATES
from hub.admin.changes import changed, content, fixed, with_content
from hub.admin.inspection import inspect, state_name
from hub.admin.memory import Committed, Memory, TradingWord
from hub.admin.refused import AdminRefused
from hub.admin.rehearsal import rehearse
from hub.admin.reload import ANSWER_S, Proposal, RefusedOfferError
from hub.hub import Hub

MAX_TOML = 256 << 10
LONG_TOML = 16 << 10  # from here on, reading it on the event loop would be felt
TURN_S = 20.0  # one act may have to wait for another, but not for ever
LEDGER_S = 1.0

Result = dict[str, Any]

log = structlog.get_logger()


class Admin:
    """The acts of one hub. `source` is where its configuration came from, `memory` what it remembers."""

    def __init__(self, hub: Hub, source: Source, memory: Memory, audit: Audit) -> None:
        self._hub, self._source, self._memory, self._audit = hub, source, memory, audit
        self._turn = asyncio.Lock()
        self._under_way: set[asyncio.Task[Any]] = set()
        word = memory.trading
        if word is not None:
            hub.view.trading.command(word.state, word.why, pending=word.pending)
        self._trading_changed = asyncio.Event()
        hub.view.trading.on_change = self._on_trading

    async def reload(
        self,
        toml: str | None = None,
        dry_run: bool = False,
        who: str = "",
        *,
        sets: Sequence[str] = (),
        expected_version: str = "",
    ) -> Result:
        """Put a configuration into force: this text, or (None) the hub's file as it is now, with `sets` over it."""

        async def act() -> Result:
            self._expect(expected_version)
            settings = await self._read(toml, sets)
            return await self._change(settings, who, "reload", dry_run=dry_run)

        return await self._act("reload", who, act)

    async def rollback(self, number: int, dry_run: bool = False, who: str = "") -> Result:
        """Put a configuration of the history into force again, under a new version."""

        async def act() -> Result:
            entry = next((e for e in self._memory.versions if e.number == number), None)
            if entry is None:
                known = ", ".join(str(e.number) for e in self._memory.versions[-10:])
                raise AdminRefused(
                    [f"there is no version {number} to go back to; the latest are {known}"], unusable=True
                )
            try:
                settings = with_content(self._hub.settings, entry.content)
            except ValueError as error:
                raise AdminRefused([f"version {entry.version} cannot be used any more: {error}"]) from None
            return await self._change(settings, who, f"rollback to {entry.version}", dry_run=dry_run)

        return await self._act("rollback", who, act)

    async def engine_mode(self, engine: str, mode: str, who: str = "") -> Result:
        """Switch an engine to active, shadow or off. Nobody is asked: one that is not well must not prevent it."""

        async def act() -> Result:
            settings = self._with_mode(engine, mode)
            return await self._change(settings, who, f"engine {engine} {mode}", ask=False)

        return await self._act("engine mode", who, act)

    async def trading(self, state: int, why: str = "", who: str = "") -> Result:
        """Set the trading state, in force and written down before this returns.

        A stricter one counts at once. A laxer one is written down first, and counts once the ledger has it too.
        """

        if state not in TRADING_STATES.values():
            raise AdminRefused([f"there is no trading state {state}"], unusable=True)
        word, view = TradingWord(state, why, who, time.time_ns()), self._hub.view
        if state > ACTIVE:
            view.command(state, why)  # before it is our turn, too

        async def act() -> Result:
            if state > ACTIVE and view.trading.commanded != state:  # somebody else had a word meanwhile
                view.command(state, why)
            await self._written(lambda: self._memory.said(word), "in force, but" if state > ACTIVE else "")
            if state == ACTIVE:
                view.command(state, why)
            await self._ledger_told()
            return {"state": state_name(view.trading.state), "ledger_told": not view.trading.untold}

        return await self._act("trading state", who, act)

    async def state(self, fact: Fact, who: str = "") -> Result:
        """Have an operator's word on reference data kept in the second level, for every hub that follows it."""

        async def act() -> Result:
            redis = self._hub.settings.redis
            if not redis.url:
                raise AdminRefused(["redis.url is not set: an operator's word on reference data is kept in Redis"])
            from arbhub.registry import say  # imported only where there is a Redis

            try:
                await say(redis, fact)
            except BadEntryError as error:
                raise AdminRefused([str(error)], unusable=True) from None
            except (RegistryDownError, ServiceError) as error:
                raise AdminRefused([f"Redis did not take it: {error}"]) from None
            return {}

        return await self._act(f"state {fact}", who, act)

    def history(self) -> Result:
        """The configurations that were in force, the latest last."""
        return {"versions": [_entry(entry) for entry in self._memory.versions]}

    def status(self) -> Result:
        """The hub as of now."""
        return inspect(self._hub)

    async def end(self) -> None:
        """Let what is under way come to its end."""
        if self._under_way:
            await asyncio.wait(self._under_way)

    async def _change(
        self, settings: Settings, who: str, why: str, *, dry_run: bool = False, ask: bool = True
    ) -> Result:
        hub = self._hub
        if keys := fixed(hub.settings, settings):
            raise AdminRefused([f"{key}: cannot change in what runs: restart the service that uses it" for key in keys])
        keys = changed(content(hub.settings), content(settings))
        if not keys:
            return {"version": hub.version, "offered": "", "committed": False, "changed": []}
        entry = self._memory.entry(settings, why, who, time.time_ns())
        proposal = Proposal(hub, settings, entry.version)
        result: Result = {"version": hub.version, "offered": entry.version, "committed": False, "changed": keys}
        try:
            if ask:
                await proposal.offer(ANSWER_S)
                result["rehearsal"] = (await rehearse(hub, settings)).as_json()
            result["absent"] = proposal.absent
            if dry_run:
                return result
            await self._written(lambda: self._memory.commit(entry))
            proposal.commit()
        except RefusedOfferError as error:
            raise AdminRefused(error.reasons) from None
        except ServiceError as error:
            raise AdminRefused([str(error)]) from None
        finally:
            proposal.withdraw()  # what is in force is on offer no more
        return result | {"version": hub.version, "committed": True}

    def _with_mode(self, engine: str, mode: str) -> Settings:
        table = self._hub.settings.engines.table()
        if engine not in table:
            raise AdminRefused([f"there is no engine {engine!r}; there are {', '.join(table)}"], unusable=True)
        live = content(self._hub.settings)
        live["engines"][engine]["mode"] = mode
        try:
            return with_content(self._hub.settings, live)
        except ValueError as error:
            raise AdminRefused([str(error)], unusable=True) from None

    def _expect(self, version: str) -> None:
        if version and version != self._hub.version:
            raise AdminRefused([f"version {self._hub.version} is in force, not the expected {version}"])

    async def _read(self, toml: str | None, sets: Sequence[str]) -> Settings:
        if toml is not None and len(toml) > MAX_TOML:
            raise AdminRefused([f"the configuration has {len(toml)} characters, at most {MAX_TOML}"], unusable=True)
        try:
            if toml is not None and len(toml) > LONG_TOML:
                return await asyncio.to_thread(self._source.read, toml, sets)
            return self._source.read(toml, sets)
        except SettingsError as error:
            raise AdminRefused(str(error).splitlines(), unusable=True) from None

    async def _act(self, name: str, who: str, act: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """One act at a time, to its end."""
        task = asyncio.create_task(self._in_turn(name, who, act))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def _in_turn(self, name: str, who: str, act: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        try:
            try:
                async with asyncio.timeout(TURN_S):
                    await self._turn.acquire()
            except TimeoutError:
                raise AdminRefused(["another change is still under way"]) from None
            try:
                result = await act()
            finally:
                self._turn.release()
        except AdminRefused as refusal:
            said = "; ".join(refusal.reasons)
            await self._audit.record(who=who, what=name, outcome=f"refused: {said}", version=self._hub.version)
            raise
        await self._audit.record(who=who, what=name, outcome="done", version=self._hub.version, result=_short(result))
        return result

    async def _written(self, write: Callable[[], None], but: str = "") -> None:
        try:
            await asyncio.to_thread(write)
        except OSError as error:
            text = f"{but} what a restart has to know cannot be written to {self._memory.folder}: {error.strerror}"
            raise AdminRefused([text.strip()]) from None

    async def _ledger_told(self) -> None:
        """Wait until the ledger has the operator's word, where somebody is there to take it, and not for long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEDGER_S):
                while self._hub.view.trading.untold and self._hub.trades.up:
                    self._trading_changed.clear()
                    await self._trading_changed.wait()

    def _on_trading(self) -> None:
        """Once the ledger has the operator's word, write that down: a restart need not tell it again."""
        self._trading_changed.set()
        word, trading = self._memory.trading, self._hub.view.trading
        if word is not None and word.pending and not trading.pending and trading.commanded == word.state:
            task = asyncio.get_running_loop().create_task(self._settle(replace(word, pending=False)))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _settle(self, word: TradingWord) -> None:
        async with self._turn:
            if self._memory.trading == replace(word, pending=True):
                try:
                    await asyncio.to_thread(self._memory.said, word)
                except OSError as error:
                    log.error("that the ledger has the trading state cannot be written down", error=str(error))


def _short(result: Result) -> str:
    """A result in a line of the trail: not what the latest ticks would have become."""
    return ", ".join(f"{key}={value}" for key, value in result.items() if key not in ("rehearsal", "version"))


def _entry(entry: Committed) -> Result:
    return {
        "number": entry.number,
        "version": entry.version,
        "committed_ns": entry.committed_ns,
        "who": entry.who,
        "why": entry.why,
        "changed": list(entry.changed),
    }
