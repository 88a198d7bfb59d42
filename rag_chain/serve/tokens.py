"""JSON Web Tokens of an issuer, checked with PyJWT: the user of a token and its rights."""

from __future__ import annotations

from urllib.parse import urlsplit

import jwt

from rag_chain.access import read_tags
from rag_chain.errors import ConfigurationError, InvalidIdError, UsageError
from rag_chain.serve.errors import RequestError
from rag_chain.sessions.values.keys import check_id
from rag_chain.settings import Settings

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Only algorithms with a public key. With HS256 too, anyone could sign with the public key as the secret."""
LEEWAY_SECONDS = 30
"""Tolerated difference between the clocks of the issuer and of this machine."""
_FETCH_SECONDS = 5


class Tokens:
    """Checks tokens with the keys that their issuer publishes.

    Args:
        issuer: value that ``iss`` must have.
        audience: value that ``aud`` must have or contain.
        keys_url: address of the issuer's keys (JWKS).
    """

    def __init__(self, issuer: str, audience: str, keys_url: str) -> None:
        self._issuer, self._audience = issuer, audience
        self._keys = jwt.PyJWKClient(keys_url, timeout=_FETCH_SECONDS)

    def read(self, token: str) -> tuple[str, frozenset[str], bool]:
        """Return the token's user, access tags and whether they may change documents. Blocking: it may fetch keys.

        Raises:
            RequestError: 401, the token is not valid; 503, the issuer's keys can't be fetched.
        """
        try:
            key = self._keys.get_signing_key_from_jwt(token)
            claims = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
            return (
                check_id(claims["sub"], "sub"),
                frozenset(read_tags(claims.get("access", []), "access")),
                claims.get("documents") is True,
            )
        except jwt.PyJWKClientConnectionError:
            message = "The keys of the tokens' issuer can't be fetched now; try again in a moment."
            raise RequestError(503, message, "issuer_unavailable") from None
        except (jwt.PyJWTError, InvalidIdError, UsageError) as error:
            reason = _describe(error)
            raise RequestError(401, f"The token is not valid: {reason}.", "invalid_token") from None


def open_tokens(settings: Settings) -> Tokens | None:
    """Return the checker of tokens; ``None``: the settings name no issuer.

    Raises:
        ConfigurationError: a setting is missing, or the address of the keys can't be used.
    """
    issuer = settings.jwt_issuer
    if not issuer:
        return None
    if not settings.jwt_audience:
        raise ConfigurationError("RAG_JWT_ISSUER needs RAG_JWT_AUDIENCE: tokens for other services must not be taken.")
    url = settings.jwt_keys_url or f"{issuer.rstrip('/')}/.well-known/jwks.json"
    parts = urlsplit(url)
    is_local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if not parts.hostname or (parts.scheme != "https" and not (parts.scheme == "http" and is_local)):
        raise ConfigurationError(
            f"RAG_JWT_KEYS_URL: {url!a} is not an https address; set it to that of the keys (JWKS)."
        )
    return Tokens(issuer, settings.jwt_audience, url)


def is_token(key: str) -> bool:
    """Whether a credential has the form of a JSON Web Token, which no API key has."""
    return key.count(".") == 2


_REASONS: dict[type[Exception], str] = {
    jwt.ExpiredSignatureError: "it has expired",
    jwt.ImmatureSignatureError: "it is not valid yet",
    jwt.InvalidAudienceError: "it is for another audience",
    jwt.InvalidIssuerError: "it is from another issuer",
    jwt.InvalidAlgorithmError: "its algorithm is not allowed",
    jwt.InvalidSignatureError: "its signature is wrong",
}


def _describe(error: Exception) -> str:
    """Return the reason, without any part of the token."""
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"it has no claim {error.claim!a}"
    if isinstance(error, InvalidIdError | UsageError):
        return "its claims sub or access can't be used"
    return next((said for kind, said in _REASONS.items() if isinstance(error, kind)), "it can't be read")
