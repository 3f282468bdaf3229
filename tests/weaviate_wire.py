"""A double of Weaviate's protocol, made of the client's own protobuf stubs: it records, injects faults, and counts.

What it says of tenants is what the server's sources say (usecases/multitenancy, usecases/schema/tenant.go).
It is no database: objects lie in a dict, a vector search looks at all of them, BM25 counts words. What a real server
does beyond the protocol, it doesn't tell.
"""

import ssl
import struct
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from uuid import UUID

import grpc
import numpy as np
from weaviate.proto.v1 import (
    aggregate_pb2,
    batch_delete_pb2,
    properties_pb2,
    search_get_pb2,
    tenants_pb2,
    weaviate_pb2_grpc,
)

from forebay.settings import WeaviateSettings
from tests.weaviate_bm25 import count_words
from tests.weaviate_definitions import has_tenants
from tests.weaviate_filtering import holds, require_answerable
from tests.weaviate_rest import RestHandler
from tests.weaviate_streams import BatchStreams


@dataclass
class Fault:
    """What goes wrong in the next call of a kind; streams have stored `after` objects by then."""

    kind: str
    after: int = 0
    away_s: float = 0
    """A stream that shuts down: how long the server is away then."""


@dataclass
class Wire:
    """What the server holds, what it was sent, and what it will do wrong."""

    classes: dict = field(default_factory=dict)
    aliases: dict = field(default_factory=dict)
    objects: dict = field(default_factory=lambda: defaultdict(dict))
    """Objects by collection, or collection and tenant (`place`), and id: (properties, bytes of the vector)."""
    tenants: dict = field(default_factory=lambda: defaultdict(set))
    """Names of tenants by collection."""
    rest: list = field(default_factory=list)
    """(method, path, body, headers) of every REST request."""
    searches: list = field(default_factory=list)
    counts: list = field(default_factory=list)
    deletes: list = field(default_factory=list)
    streams: list = field(default_factory=list)
    """Consistency level of every stream."""
    batch_sizes: list = field(default_factory=list)
    """Sizes that streams ask for after their next messages, one after each; None asks for nothing."""
    ack_s: float = 0
    """How long a stream takes to acknowledge a message; clients give no more than one ahead of it."""
    message_sizes: list = field(default_factory=list)
    """How many objects each message of a stream brought."""
    received: list = field(default_factory=list)
    """Ids in the order that they came in, repeated ones included."""
    metadata: list = field(default_factory=list)
    faults: dict = field(default_factory=lambda: defaultdict(list))
    """Faults to come, by the name of the call."""
    failures: list = field(default_factory=list)
    """Kinds of the faults that have befallen streams."""
    refused: dict = field(default_factory=dict)
    """Ids that are answered with this error instead of being stored."""
    delete_limit: int = 10_000
    queue: list = field(default_factory=list)
    """Lengths of the vector queue that the next questions about nodes are answered with; then 0."""
    gate: threading.Event = field(default_factory=threading.Event)
    """Searches with the fault `wait` wait for it, or until they are cancelled."""
    oidc_secret: str = ""
    """Client secret that gives tokens; without one, there is no OIDC."""
    oidc_answer: tuple | None = None
    """Status and body that the question about OIDC is answered with, whatever is the case."""
    tokens: list = field(default_factory=list)
    """The form of every request for a token; they are called `token1`, `token2`, ..."""
    token_s: int = 3600
    """How long a token lasts."""
    backups: dict = field(default_factory=dict)
    """By backend and id: the classes and objects."""
    backup_states: list = field(default_factory=list)
    """States that the next questions about backups are answered with; then SUCCESS."""
    cancelled: int = 0
    """Searches that were cancelled while they waited."""
    peers: set = field(default_factory=set)
    """Connections that searches came over."""
    absence: threading.Thread | None = None
    """Starts the server again after `be_away`."""
    n_nodes: int = 1
    """Nodes that the cluster says it has."""
    url: str = ""
    rest_port: int = 0
    grpc_port: int = 0

    def settings(self, **more):
        """Give settings that reach this server and lose no time; the environment may hold those of a real one."""
        own = {"url": self.url, "grpc_port": self.grpc_port}
        own |= {"load_pause_s": 0, "load_stall_s": 20, "insert_timeout_s": 2}
        return WeaviateSettings(_env_prefix="FOREBAY_NOT_THE_DOUBLE_", **{**own, **more})

    def take(self, call):
        return self.faults[call].pop(0) if self.faults[call] else None

    def resolve(self, name):
        return self.aliases.get(name, name)

    def definition(self, name):
        return self.classes[self.resolve(name)]

    def has_tenants(self, name):
        return has_tenants(self.classes.get(name, {}))

    def place(self, collection, tenant):
        """Name where objects of a collection lie in `objects`.

        Raises:
            LookupError: a server doesn't answer such a call; with what it says.
        """
        name = self.resolve(collection)
        if name not in self.classes:
            raise LookupError(f"could not find class {name} in schema")
        if not self.has_tenants(name):
            if tenant:
                raise LookupError(f"class {name} has multi-tenancy disabled, but request was with tenant")
            return name
        if not tenant:
            raise LookupError(f"class {name} has multi-tenancy enabled, but request was without tenant")
        if tenant not in self.tenants[name]:
            raise LookupError(f'tenant not found: "{tenant}"')
        return f"{name}/{tenant}"

    def be_away(self, seconds):
        """Stop serving, and start again later, in a thread that `absence` holds."""

        def leave():
            self.stop()
            time.sleep(seconds)
            serve(self)

        self.absence = threading.Thread(target=leave)
        self.absence.start()

    def of_collection(self, name):
        """Give the objects of a collection by place."""
        return {place: dict(held) for place, held in self.objects.items() if place.partition("/")[0] == name}

    def drop(self, name):
        """Lose a collection."""
        self.classes.pop(name, None)
        self.tenants.pop(name, None)
        for place in self.of_collection(name):
            del self.objects[place]


class _Service(BatchStreams, weaviate_pb2_grpc.WeaviateServicer):
    def __init__(self, wire):
        self._wire = wire

    def BatchDelete(self, request, context):
        self._wire.deletes.append(request)
        self._interrupt("delete", context)
        held = self._held(request, context)
        matches = [key for key, _ in self._matching(request, context)]
        for key in matches[: self._wire.delete_limit]:
            del held[key]
        return batch_delete_pb2.BatchDeleteReply(
            matches=len(matches), successful=min(len(matches), self._wire.delete_limit)
        )

    def Aggregate(self, request, context):
        self._wire.counts.append(request)
        self._interrupt("aggregate", context)
        n = len(self._matching(request, context))
        return aggregate_pb2.AggregateReply(single_result=aggregate_pb2.AggregateReply.Single(objects_count=n))

    def Search(self, request, context):
        self._wire.searches.append(request)
        self._wire.metadata.append(dict(context.invocation_metadata()))
        self._wire.peers.add(context.peer())
        self._interrupt("search", context)
        matching = self._matching(request, context)
        if request.HasField("near_vector"):
            question = _floats(request.near_vector.vectors[0].vector_bytes)
            scored = [(1 - float(question @ _floats(item[1])), key, item) for key, item in matching]
            scored.sort(key=lambda entry: entry[0])
        elif request.HasField("bm25_search"):
            definition = self._wire.definition(request.collection)
            try:
                scored = [(count_words(request.bm25_search, item[0], definition), key, item) for key, item in matching]
            except LookupError as exc:
                context.abort(grpc.StatusCode.UNKNOWN, exc.args[0])
            scored = sorted((entry for entry in scored if entry[0]), key=lambda entry: -entry[0])
        else:
            scored = [(0.0, key, item) for key, item in sorted(matching)]
        return search_get_pb2.SearchReply(results=[_result(request, *entry) for entry in scored[: request.limit]])

    def TenantsGet(self, request, context):
        name = self._wire.resolve(request.collection)
        if not self._wire.has_tenants(name):
            context.abort(grpc.StatusCode.UNKNOWN, f'multi-tenancy is not enabled for class "{name}"')
        held = set(self._wire.tenants[name])
        wanted = held & set(request.names.values) if request.HasField("names") else held
        status = tenants_pb2.TENANT_ACTIVITY_STATUS_ACTIVE
        return tenants_pb2.TenantsGetReply(tenants=[{"name": one, "activity_status": status} for one in wanted])

    def _held(self, request, context):
        try:
            return self._wire.objects[self._wire.place(request.collection, request.tenant)]
        except LookupError as exc:
            context.abort(grpc.StatusCode.UNKNOWN, exc.args[0])

    def _matching(self, request, context):
        held = self._held(request, context)
        has_filter = request.HasField("filters")
        if has_filter:
            try:
                require_answerable(request.filters, self._wire.definition(request.collection))
            except LookupError as exc:
                context.abort(grpc.StatusCode.UNKNOWN, exc.args[0])
        return [
            (key, item)
            for key, item in held.items()
            if not has_filter or holds(request.filters, {**item[0], "_id": key})
        ]

    def _interrupt(self, call, context):
        fault = self._wire.take(call)
        if fault is None:
            return
        if fault.kind == "wait":
            while context.is_active() and not self._wire.gate.wait(0.02):
                pass
            self._wire.cancelled += not context.is_active()
            return
        context.abort(getattr(grpc.StatusCode, fault.kind.upper()), f"injected {fault.kind}")


def _floats(packed):
    return np.frombuffer(packed, np.float32)


def _result(request, figure, key, item):
    properties, vector = item
    metadata = search_get_pb2.MetadataResult(id=key, id_as_bytes=UUID(key).bytes)
    if request.metadata.distance:
        metadata.distance, metadata.distance_present = figure, True
    if request.metadata.score:
        metadata.score, metadata.score_present = figure, True
    if request.metadata.vector:
        metadata.vector_bytes = vector
    fields = {
        name: properties_pb2.Value(**{"text_value" if isinstance(value, str) else "number_value": value})
        for name in request.properties.non_ref_properties
        if (value := properties[name]) is not None
    }
    held = search_get_pb2.PropertiesResult(non_ref_props=properties_pb2.Properties(fields=fields))
    return search_get_pb2.SearchResult(properties=held, metadata=metadata)


def serve(wire, rest_tls=None, grpc_tls=None):
    """Start both servers on this machine, on free ports or on those that they had; `wire.stop()` ends them.

    They speak TLS where files of a certificate and its key are given.
    """
    handler = type("Rest", (RestHandler,), {"wire": wire})
    rest = ThreadingHTTPServer(("127.0.0.1", wire.rest_port), handler)
    if rest_tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*rest_tls)
        rest.socket = context.wrap_socket(rest.socket, server_side=True)
    threading.Thread(target=rest.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    server = grpc.server(ThreadPoolExecutor(16))
    weaviate_pb2_grpc.add_WeaviateServicer_to_server(_Service(wire), server)
    address = f"127.0.0.1:{wire.grpc_port}"
    if grpc_tls:
        certificate, key = (path.read_bytes() for path in grpc_tls)
        credentials = grpc.ssl_server_credentials([(key, certificate)])
        wire.grpc_port = server.add_secure_port(address, credentials)
    else:
        wire.grpc_port = server.add_insecure_port(address)
    server.start()
    wire.rest_port = rest.server_port
    wire.url = f"{'https' if rest_tls else 'http'}://127.0.0.1:{wire.rest_port}"

    def stop():
        wire.stop = lambda: None
        wire.gate.set()
        server.stop(0).wait()
        rest.shutdown()
        rest.server_close()

    wire.stop = stop


def packed(vector):
    """Pack a vector as the wire should carry it: little-endian float32."""
    return struct.pack(f"<{len(vector)}f", *vector)
