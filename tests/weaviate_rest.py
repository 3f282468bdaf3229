"""The REST half of Weaviate's double (tests/weaviate_wire.py): definitions, aliases, tenants, backups, identities."""

import json
import re
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qsl

from tests.weaviate_definitions import completed

_TENANT = re.compile(r"[A-Za-z0-9\-_]{1,64}")


class RestHandler(BaseHTTPRequestHandler):
    """Answers for the `Wire` that a subclass has as `wire`."""

    def log_message(self, *_):
        pass

    def _serve(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode()
        is_form = "form-urlencoded" in self.headers.get("Content-Type", "")
        body = dict(parse_qsl(body)) if is_form else json.loads(body or "null")
        path = self.path.partition("?")[0].removeprefix("/v1/")
        self.wire.rest.append((self.command, path, body, dict(self.headers)))
        status, answer = self._answer(path.split("/"), body)
        payload = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    do_GET = do_POST = do_PUT = do_DELETE = _serve

    def _answer(self, path, body):
        wire = self.wire
        match self.command, path:
            case _, [".well-known", *_] | ["", *_]:
                return self._identity(path[-1], body)
            case "GET", ["meta"]:
                return 200, {"version": "1.39.0", "grpcMaxMessageSize": 104858000}
            case _, ["schema", *name]:
                return self._schema(name, body)
            case "GET", ["nodes", *_]:
                shard = {
                    "class": "",
                    "name": "s",
                    "objectCount": 0,
                    "vectorIndexingStatus": "READY",
                    "compressed": True,
                }
                shard |= {"vectorQueueLength": wire.queue.pop(0) if wire.queue else 0, "loaded": True}
                node = {"name": "n", "status": "HEALTHY", "version": "1.39.0", "gitHash": "", "shards": [shard]}
                return 200, {"nodes": [node | {"stats": {"objectCount": 0, "shardCount": 1}}] * wire.n_nodes}
            case _, ["aliases", *name]:
                return self._alias(name, body)
            case _, ["backups", *what]:
                return self._backup(what, body)
        return 404, {"error": [{"message": "not found"}]}

    def _schema(self, name, body):
        wire = self.wire
        match self.command, name:
            case "POST", []:
                try:
                    wire.classes[body["class"]] = completed(body)
                except ValueError as exc:
                    return 422, {"error": [{"message": str(exc)}]}
                return 200, body
            case "GET", []:
                return 200, {"classes": list(wire.classes.values())}
            case "GET", [one] if one in wire.classes:
                return 200, wire.classes[one]
            case "DELETE", [one]:
                wire.drop(one)
                return 200, {}
            case "POST", [one, "tenants"] if one in wire.classes:
                return self._create_tenants(one, [tenant["name"] for tenant in body])
        return 404, {"error": [{"message": "not found"}]}

    def _create_tenants(self, name, tenants):
        if not self.wire.has_tenants(name):
            return 422, {"error": [{"message": f'multi-tenancy is not enabled for class "{name}"'}]}
        if not all(_TENANT.fullmatch(one) for one in tenants):
            message = "tenant name should only contain alphanumeric characters (a-z, A-Z, 0-9), underscore (_), and "
            return 422, {"error": [{"message": message + "hyphen (-), with a length between 1 and 64 characters"}]}
        if fault := self.wire.take("tenants"):
            return 500, {"error": [{"message": fault.kind}]}
        self.wire.tenants[name] |= set(tenants)
        return 200, [{"name": one, "activityStatus": "HOT"} for one in tenants]

    def _backup(self, what, body):
        wire, (backend, *rest) = self.wire, what
        answer = {"id": "", "path": "p", "backend": backend, "classes": [], "status": "STARTED"}
        match self.command, rest:
            case "POST", []:
                if (backend, body["id"]) in wire.backups:
                    return 422, {"error": [{"message": "backup already exists"}]}
                wire.backups[backend, body["id"]] = {
                    name: (wire.classes[name], set(wire.tenants[name]), wire.of_collection(name))
                    for name in body["include"]
                }
                return 200, answer
            case "POST", [name, "restore"] if (backend, name) in wire.backups:
                for collection in body["include"]:
                    held = wire.backups[backend, name][collection]
                    wire.classes[collection], wire.tenants[collection] = held[0], set(held[1])
                    wire.objects.update(held[2])
                return 200, answer
            case "GET", [name, *_] if (backend, name) in wire.backups:
                state = wire.backup_states.pop(0) if wire.backup_states else "SUCCESS"
                return 200, answer | {"status": state, "error": "the bucket is full" if state == "FAILED" else None}
        return 404, {"error": [{"message": "no such backup"}]}

    def _identity(self, asked, body):
        """Be the identity provider, and say where it is."""
        wire = self.wire
        match asked:
            case "openid-configuration" if wire.oidc_answer:
                return wire.oidc_answer
            case "openid-configuration" if wire.oidc_secret:
                return 200, {"href": f"{wire.url}/provider", "clientId": "forebay", "scopes": ["openid"]}
            case "provider":
                return 200, {"token_endpoint": f"{wire.url}/token"}
            case "token":
                wire.tokens.append(body)
                if body["client_secret"] != wire.oidc_secret:
                    return 401, {"error": "invalid_client"}
                token = {"access_token": f"token{len(wire.tokens)}", "token_type": "Bearer"}
                return 200, token | {"expires_in": wire.token_s}
        return 404, {}

    def _alias(self, name, body):
        aliases = self.wire.aliases
        match self.command, name:
            case "POST", []:
                aliases[body["alias"]] = body["class"]
                return 200, body
            case "GET", [alias] if alias in aliases:
                return 200, {"alias": alias, "class": aliases[alias]}
            case "PUT", [alias] if alias in aliases:
                aliases[alias] = body["class"]
                return 200, {"alias": alias, **body}
            case "DELETE", [alias] if aliases.pop(alias, None):
                return 204, {}
        return 404, {"error": [{"message": "not found"}]}
