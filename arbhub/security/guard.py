"""The bearer token in front of a gRPC port: an interceptor for the admin port alone, none for the hot path.

Health stays open, as supervisors ask it. Whatever else is called on the port, whether it exists or not, is answered
only with the token. gRPC status codes of refusals are made here.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias
from urllib.parse import unquote

import grpc

from arbhub.security.audit import Audit
from arbhub.security.bearer import HEADER, Access, Bearer

OPEN = "/grpc.health.v1.Health/"
CODES = {
    Access.WRONG: grpc.StatusCode.UNAUTHENTICATED,
    Access.LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
Context = grpc.aio.ServicerContext[Any, Any]
Details = grpc.HandlerCallDetails
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # subscribable in the stubs alone


def guards(bearer: Bearer | None, audit: Audit) -> tuple["Guard", ...]:
    """The interceptors of a port, for `arbhub.service.serving`: none where no token is configured."""
    return () if bearer is None else (Guard(bearer, audit),)


class Guard(grpc.aio.ServerInterceptor):
    """Lets calls with the token through, and writes refusals down."""

    def __init__(self, bearer: Bearer, audit: Audit) -> None:
        self._bearer, self._audit = bearer, audit

    async def intercept_service(
        self, continuation: Callable[[Details], Awaitable["Handler | None"]], details: Details
    ) -> "Handler | None":
        """The handler with the check before it. Only a handler knows who calls, so the check cannot come sooner."""
        handler = await continuation(details)
        if details.method.startswith(OPEN):
            return handler
        header = dict(details.invocation_metadata).get(HEADER)
        admit = _Admission(self, details.method, header)
        if handler is None:
            return grpc.unary_unary_rpc_method_handler(admit.to_nothing)
        return admit.before(handler)

    async def admit(self, method: str, header: str | bytes | None, context: Context) -> None:
        """Return where the caller has the token; the call is aborted otherwise."""
        peer = host_of(context.peer())
        access = self._bearer.check(header, peer)
        if access is Access.GRANTED:
            return
        if access is Access.WRONG:  # attempts beyond the rate are counted, not written down one by one
            await self._audit.record(
                who=who(context), what=method, outcome="refused: no valid token", unheard=self._bearer.limited
            )
        await context.abort(CODES[access], access.value)


class _Admission:
    """The check of one call, put before its handler."""

    def __init__(self, guard: Guard, method: str, header: str | bytes | None) -> None:
        self._guard, self._method, self._header = guard, method, header

    async def to_nothing(self, _: Any, context: Context) -> None:
        """A method that does not exist: only who has the token is told so."""
        await self._guard.admit(self._method, self._header, context)
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")

    def before(self, handler: Handler) -> Handler:
        """The same kind of handler. What it is asked is read by it as ever, once the caller is let in."""
        kinds = handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream
        behaviour: Any = next(kind for kind in kinds if kind)

        async def one(request: Any, context: Context) -> Any:
            await self._guard.admit(self._method, self._header, context)
            return await behaviour(request, context)

        async def many(request: Any, context: Context) -> None:
            await self._guard.admit(self._method, self._header, context)
            answer = behaviour(request, context)
            if hasattr(answer, "__aiter__"):
                async for reply in answer:
                    await context.write(reply)
            else:
                await answer

        make: Any = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming, handler.response_streaming]
        guarded: Handler = make(
            many if handler.response_streaming else one, handler.request_deserializer, handler.response_serializer
        )
        return guarded


def who(context: Context) -> str:
    """Who calls, for the audit trail: the name in its certificate where it has one, and where it calls from."""
    names = context.auth_context().get("x509_common_name") or []
    return " ".join([*(name.decode(errors="replace") for name in names), f"from {host_of(context.peer())}"])


def host_of(peer: str) -> str:
    """The address in what gRPC calls a peer, such as "ipv4:127.0.0.1:50000": each call may have a port of its own."""
    kind, _, rest = unquote(peer).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return "this machine" if kind == "unix" else peer
    return rest.rpartition(":")[0].strip("[]")
