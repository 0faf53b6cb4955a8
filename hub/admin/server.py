"""The admin port's gRPC face, and SIGHUP. Status codes are made here; what is done is `hub.admin.acts`'s.

Requests come as bytes, so that what cannot be read is refused like the rest. A field that is not known here is
refused too: who asks for more than we understand should not get less without a word.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import grpc
import structlog
from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from arbhub.catalogue import Correction
from arbhub.reference import VenueState
from arbhub.security.credentials import INSECURE, Credentials
from arbhub.security.guard import who as caller
from arbhub.service import serving
from arbhub.v1 import admin_pb2
from hub.admin.acts import Admin, Result
from hub.admin.refused import AdminRefused

SERVICE = "arbhub.v1.Admin"
Context = grpc.aio.ServicerContext[Any, Any]
Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)

log = structlog.get_logger()


class AdminServicer:
    """The calls of the Admin service."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin

    def register(self, server: grpc.aio.Server) -> None:
        """Answer calls of `server`."""
        p = admin_pb2
        methods = {
            "Reload": _handler(p.ReloadRequest, p.ReloadReply, self._reload),
            "History": _handler(p.HistoryRequest, p.HistoryReply, self._history),
            "Rollback": _handler(p.RollbackRequest, p.ReloadReply, self._rollback),
            "Inspect": _handler(p.InspectRequest, p.InspectReply, self._inspect),
            "SetTradingState": _handler(p.SetTradingStateRequest, p.SetTradingStateReply, self._trading),
            "SetEngineMode": _handler(p.SetEngineModeRequest, p.ReloadReply, self._mode),
            "StateReference": _handler(p.StateReferenceRequest, p.StateReferenceReply, self._state),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))

    async def _reload(self, r: admin_pb2.ReloadRequest, who: str) -> Result:
        if r.WhichOneof("source") is None or (r.HasField("file") and not r.file):
            raise AdminRefused(["say what to load: toml (its text) or file = true (the hub's own)"], unusable=True)
        text = r.toml if r.HasField("toml") else None
        return await self._admin.reload(
            text, r.dry_run, _by(r.who, who), sets=tuple(r.sets), expected_version=r.expected_version
        )

    async def _history(self, _: admin_pb2.HistoryRequest, __: str) -> Result:
        return self._admin.history()

    async def _rollback(self, r: admin_pb2.RollbackRequest, who: str) -> Result:
        return await self._admin.rollback(r.number, r.dry_run, _by(r.who, who))

    async def _inspect(self, _: admin_pb2.InspectRequest, __: str) -> Result:
        return self._admin.status()

    async def _trading(self, r: admin_pb2.SetTradingStateRequest, who: str) -> Result:
        return await self._admin.trading(r.state, r.why, _by(r.who, who))

    async def _mode(self, r: admin_pb2.SetEngineModeRequest, who: str) -> Result:
        return await self._admin.engine_mode(r.engine, r.mode, _by(r.who, who))

    async def _state(self, r: admin_pb2.StateReferenceRequest, who: str) -> Result:
        if bool(r.state) == bool(r.symbol) or (r.figures and not r.symbol):
            raise AdminRefused(["say a venue's state, or a symbol's figures on it"], unusable=True)
        fact = VenueState(r.venue, r.state) if r.state else Correction(r.venue, r.symbol, dict(r.figures))
        return await self._admin.state(fact, _by(r.who, who))


def _by(stated: str, peer: str) -> str:
    return f"{stated[:100]} {peer}" if stated else peer


def _handler(
    request: type[Q], reply: type[R], act: Callable[[Q, str], Awaitable[Result]]
) -> "grpc.RpcMethodHandler[Any, Any]":
    async def call(frame: bytes, context: Context) -> bytes:
        try:
            message = request.FromString(frame)
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"this is no {request.__name__}")
        unknown = UnknownFieldSet(message)
        if len(unknown):
            text = f"{request.__name__}: the field {unknown[0].field_number} is not known to this hub"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
        try:
            result = await act(message, caller(context))
        except AdminRefused as refusal:
            code = grpc.StatusCode.INVALID_ARGUMENT if refusal.unusable else grpc.StatusCode.FAILED_PRECONDITION
            await context.abort(code, "\n".join(refusal.reasons))
        return ParseDict(result, reply()).SerializeToString()

    return grpc.unary_unary_rpc_method_handler(call)


@contextlib.asynccontextmanager
async def administered(
    admin: Admin,
    listen: str,
    credentials: Credentials = INSECURE,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
) -> AsyncIterator[None]:
    """Serve the admin port (nowhere where `listen` is empty) and reload at SIGHUP, for as long as the block runs."""
    async with contextlib.AsyncExitStack() as stack:
        if listen:
            servicer = AdminServicer(admin)
            port = await stack.enter_async_context(
                serving(listen, servicer.register, [SERVICE], credentials=credentials, interceptors=interceptors)
            )
            log.info("serving", service="admin", port=port)
        stack.enter_context(_reloading_at_hangup(admin))
        try:
            yield
        finally:
            await admin.end()


@contextlib.contextmanager
def _reloading_at_hangup(admin: Admin) -> Any:
    loop, tasks = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    def on_hangup() -> None:
        task = loop.create_task(_reload_file(admin))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    loop.add_signal_handler(signal.SIGHUP, on_hangup)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


async def _reload_file(admin: Admin) -> None:
    with contextlib.suppress(AdminRefused):  # said in the log, where somebody looks who sends signals
        await admin.reload(None, who="SIGHUP")
