"""The batch streams of Weaviate's double (tests/weaviate_wire.py), and what goes wrong in them.

A server acknowledges every message, then tells what became of its objects and how many the next one should bring, and
on its way out sends `ShuttingDown` (adapters/handlers/grpc/v1/batch in its sources). Short of memory, it names the
objects that it didn't take, and is expected to be started anew with more: clients wait for that.
"""

import time

import grpc
from google.protobuf.json_format import MessageToDict
from weaviate.proto.v1 import batch_pb2

from tests.weaviate_filtering import require_properties

_REPLY = batch_pb2.BatchStreamReply


class BatchStreams:
    """Answers for the `Wire` that a subclass has as `_wire`."""

    def BatchStream(self, requests, context):
        self._wire.metadata.append(dict(context.invocation_metadata()))
        fault, stored = self._wire.take("stream"), 0
        for request in requests:
            if request.HasField("start"):
                self._wire.streams.append(request.start.consistency_level)
                yield _REPLY(started=_REPLY.Started())
            elif request.HasField("stop"):
                return
            else:
                objects = list(request.data.objects.values)
                self._wire.message_sizes.append(len(objects))
                time.sleep(self._wire.ack_s)
                yield _REPLY(acks=_REPLY.Acks(uuids=[item.uuid for item in objects]))
                is_reached = fault is not None and stored + len(objects) > fault.after
                kept = objects[: fault.after - stored] if is_reached else objects
                results = self._store(kept)
                stored += len(kept)
                if not (is_reached and fault.kind == "lost"):
                    yield _REPLY(results=results)
                if self._wire.batch_sizes and (size := self._wire.batch_sizes.pop(0)) is not None:
                    yield _REPLY(backoff=_REPLY.Backoff(batch_size=size))
                if is_reached:
                    yield from self._fail(fault, [item.uuid for item in objects[len(kept) :]], context)
                    if fault.kind in ("out_of_memory", "still_out_of_memory", "shutting_down"):
                        # A server that shuts down waits until the client has closed its side.
                        list(requests)
                    if fault.away_s:
                        self._wire.be_away(fault.away_s)
                    return

    def _store(self, objects):
        results = _REPLY.Results()
        for item in objects:
            self._wire.received.append(item.uuid)
            if item.uuid in self._wire.refused:
                results.errors.add(uuid=item.uuid, error=self._wire.refused[item.uuid])
                continue
            properties = MessageToDict(item.properties.non_ref_properties)
            properties |= {part.prop_name: list(part.values) for part in item.properties.text_array_properties}
            try:
                place = self._wire.place(item.collection, item.tenant)
                require_properties(properties.keys(), self._wire.definition(item.collection))
            except LookupError as exc:
                results.errors.add(uuid=item.uuid, error=exc.args[0])
                continue
            self._wire.objects[place][item.uuid] = (properties, item.vector_bytes)
            results.successes.add(uuid=item.uuid)
        return results

    def _fail(self, fault, rest, context):
        self._wire.failures.append(fault.kind)
        match fault.kind:
            case "unavailable":
                context.abort(grpc.StatusCode.UNAVAILABLE, "the node is gone")
            case "deadline":
                context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "too slow")
            case "out_of_memory" | "still_out_of_memory":
                yield _REPLY(out_of_memory=_REPLY.OutOfMemory(uuids=rest, wait_time=30))
                if fault.kind == "out_of_memory":
                    yield _REPLY(shutting_down=_REPLY.ShuttingDown())
            case "shutting_down":
                yield _REPLY(shutting_down=_REPLY.ShuttingDown())
            case "close" | "lost":
                pass
