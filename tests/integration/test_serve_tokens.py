"""Who may call a service by a token of an issuer, and how often: real signatures, keys over HTTP, a real Redis."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from servers import RedisServer, free_port
from starlette.testclient import TestClient
from talking import echo_chain

from rag_chain.errors import ConfigurationError
from rag_chain.serve.app import create_app
from rag_chain.serve.errors import RequestError
from rag_chain.serve.tokens import LEEWAY_SECONDS, Tokens, open_tokens
from rag_chain.sessions import open_sessions
from rag_chain.settings import Settings

ISSUER, AUDIENCE = "https://issuer.example", "rag"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVE = ec.generate_private_key(ec.SECP256R1())
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Issuer:
    """An issuer's server of keys."""

    def __init__(self) -> None:
        keys = {
            "rsa": jwt.algorithms.RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True),
            "curve": jwt.algorithms.ECAlgorithm.to_jwk(CURVE.public_key(), as_dict=True),
        }
        body = json.dumps({"keys": [{**key, "kid": name, "use": "sig"} for name, key in keys.items()]}).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/keys"


@pytest.fixture(scope="module")
def keys_url() -> Iterator[str]:
    issuer = Issuer()
    thread = threading.Thread(target=issuer.server.serve_forever, args=(0.02,))
    thread.start()
    yield issuer.url
    issuer.server.shutdown()
    issuer.server.server_close()
    thread.join()


def token(key: Any = RSA, algorithm: str = "RS256", kid: str = "rsa", **claims: Any) -> str:
    given = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": time.time() + 60, **claims}
    present = {name: value for name, value in given.items() if value is not None}
    return jwt.encode(present, key, algorithm, headers={"kid": kid})


def forged(secret: bytes, algorithm: str) -> str:
    """A token that claims to be signed with a secret, or not at all."""

    def encode(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": int(time.time()) + 60}
    head = {"alg": algorithm, "kid": "rsa", "typ": "JWT"}
    signed = f"{encode(json.dumps(head).encode())}.{encode(json.dumps(claims).encode())}"
    signature = hmac.new(secret, signed.encode(), hashlib.sha256).digest() if secret else b""
    return f"{signed}.{encode(signature)}"


def test_good_tokens_are_read(keys_url: str) -> None:
    tokens = Tokens(ISSUER, AUDIENCE, keys_url)
    assert tokens.read(token()) == ("ada", frozenset(), False)
    claims = {"aud": ["other", AUDIENCE], "access": ["staff"], "documents": True}
    assert tokens.read(token(CURVE, "ES256", "curve", **claims)) == ("ada", frozenset({"staff"}), True)
    assert tokens.read(token(exp=time.time() - LEEWAY_SECONDS / 2))[0] == "ada"
    assert tokens.read(token(nbf=time.time() + LEEWAY_SECONDS / 2))[0] == "ada"


PUBLIC = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: token(exp=time.time() - LEEWAY_SECONDS - 5), "expired"),
        (lambda: token(nbf=time.time() + LEEWAY_SECONDS + 5), "not valid yet"),
        (lambda: token(aud="other"), "another audience"),
        (lambda: token(iss="https://evil.example"), "another issuer"),
        (lambda: token(exp=None), "no claim 'exp'"),
        (lambda: token(sub=None), "no claim 'sub'"),
        (lambda: token(aud=None), "no claim 'aud'"),
        (lambda: token(sub="a/b"), "can't be used"),
        (lambda: token(access="staff"), "can't be used"),
        (lambda: token(STRANGER), "signature is wrong"),
        (lambda: token(kid="unknown"), "can't be read"),
        (lambda: forged(PUBLIC, "HS256"), "algorithm is not allowed"),
        (lambda: forged(b"", "none"), "algorithm is not allowed"),
        (lambda: token(CURVE, "ES256", "rsa"), "not valid"),
        (lambda: "a.b.c", "can't be read"),
        (lambda: token()[:-8] + "AAAAAAAA", "signature is wrong"),
    ],
)
def test_other_tokens_are_refused_and_not_repeated(keys_url: str, made: Any, reason: str) -> None:
    sent = made()
    with pytest.raises(RequestError, match=reason) as refused:
        Tokens(ISSUER, AUDIENCE, keys_url).read(sent)
    assert refused.value.status == 401
    assert sent[:20] not in str(refused.value)


def test_an_issuer_that_is_away_is_no_mistake_of_the_caller() -> None:
    with pytest.raises(RequestError) as failed:
        Tokens(ISSUER, AUDIENCE, f"http://127.0.0.1:{free_port()}/keys").read(token())
    assert (failed.value.status, failed.value.code) == (503, "issuer_unavailable")


def test_settings_that_would_let_others_in_are_refused() -> None:
    assert open_tokens(Settings()) is None
    assert open_tokens(Settings(jwt_issuer=ISSUER, jwt_audience=AUDIENCE)) is not None
    with pytest.raises(ConfigurationError, match="RAG_JWT_AUDIENCE"):
        open_tokens(Settings(jwt_issuer=ISSUER))
    for url in ("http://issuer.example/keys", "file:///etc/keys"):
        with pytest.raises(ConfigurationError, match="RAG_JWT_KEYS_URL"):
            open_tokens(Settings(jwt_issuer=ISSUER, jwt_audience=AUDIENCE, jwt_keys_url=url))


def app_of(tmp_path: Path, name: str, redis_url: str, **more: Any) -> TestClient:
    settings = Settings(
        redis_url=redis_url,
        journal_path=tmp_path / f"{name}.sqlite3",
        key_prefix=f"{tmp_path.name}:",
        api_keys_path=tmp_path / "keys.json",
        redis_timeout=0.5,
        **more,
    )
    return TestClient(create_app(settings, chain=echo_chain(open_sessions(settings))))


def test_tokens_separate_users_and_their_requests_are_counted_by_all_servers(
    tmp_path: Path, redis_server: RedisServer, keys_url: str
) -> None:
    given = {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_keys_url": keys_url, "serve_max_requests": 6}
    ada, bob = ({"Authorization": f"Bearer {token(sub=name)}"} for name in ("ada", "bob"))
    with (
        app_of(tmp_path, "one", redis_server.url, **given) as one,
        app_of(tmp_path, "two", redis_server.url, **given) as two,
    ):
        refused = one.get("/sessions", headers={"Authorization": f"Bearer {token(aud='other')}"})
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert one.get("/sessions").status_code == 401
        assert one.post("/sessions/s1/turns", json={"input": "q"}, headers=ada).status_code == 200
        assert two.get("/sessions/s1", headers=ada).status_code == 200
        assert two.get("/sessions/s1", headers=bob).status_code == 404
        answers = [server.get("/v1/models", headers=ada) for server in (one, two) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 2
        assert 0 < int(answers[-1].headers["retry-after"]) <= 60
        assert answers[-1].json()["error"]["code"] == "rate_limited"
        assert two.get("/v1/models", headers=bob).status_code == 200
        assert one.get("/healthz").status_code == 200


def test_without_redis_each_server_counts_for_itself(tmp_path: Path, keys_url: str) -> None:
    given = {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_keys_url": keys_url, "serve_max_requests": 2}
    headers = {"Authorization": f"Bearer {token()}"}
    with app_of(tmp_path, "away", f"redis://127.0.0.1:{free_port()}/0", **given) as client:
        answers = [client.get("/v1/models", headers=headers).status_code for _ in range(4)]
    assert answers == [200, 200, 429, 429]
