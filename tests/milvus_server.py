"""A Milvus server in a process of its own: Milvus Lite behind a port; with a token, only for those who send it.

python tests/milvus_server.py FOLDER PORT [TOKEN]
"""

import base64
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from milvus_lite.adapter.grpc.servicer import MilvusServicer
from milvus_lite.db import MilvusLite
from pymilvus.grpc_gen import milvus_pb2_grpc


class Guard(grpc.ServerInterceptor):
    """Refuse who does not send the token, as a Milvus server with authorization does."""

    def __init__(self, token: str) -> None:
        self._sent = ("authorization", base64.b64encode(token.encode()).decode())

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        if self._sent in details.invocation_metadata:
            return continuation(details)
        return grpc.unary_unary_rpc_method_handler(
            lambda _, context: context.abort(grpc.StatusCode.UNAUTHENTICATED, "auth check failure")
        )


def main(folder: str, port: str, token: str = "") -> None:
    """Serve until killed; a line on stdout says when."""
    server = grpc.server(ThreadPoolExecutor(10), interceptors=[Guard(token)] if token else [])
    milvus_pb2_grpc.add_MilvusServiceServicer_to_server(MilvusServicer(MilvusLite(folder)), server)
    assert server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    print("ready", flush=True)  # noqa: T201
    server.wait_for_termination()


if __name__ == "__main__":
    main(*sys.argv[1:])
