"""Whom to trust, and who we are: TLS as one credential's `http` settings want it."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, NamedTuple

import httpx

from etl.errors import Unreachable

if TYPE_CHECKING:
    from pathlib import Path

    from etl.providers.base import RequestSettings

_UNTRUSTED = {2, 18, 19, 20, 21}
"""OpenSSL's verdicts that a certificate leads to no authority that is trusted: X509_V_ERR_* of x509_vfy.h."""

_WANTED = {"TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV1_ALERT_UNKNOWN_CA"}
"""What servers say to a client without the certificate that they want."""


class Identity(NamedTuple):
    """The files that decide a TLS connection; all None for the usual authorities and no certificate."""

    ca_bundle: Path | None
    client_cert: Path | None
    client_key: Path | None


def identity(settings: RequestSettings) -> Identity:
    """Return what of the settings decides a TLS connection."""
    return Identity(settings.ca_bundle, settings.client_cert, settings.client_key)


def context(who: Identity, *, encrypted: bool = True) -> ssl.SSLContext:
    """Make what verifies servers; without need of encryption nothing is trusted, which spares 50 ms of loading.

    Raises:
        Unreachable: A file cannot be read, or does not hold what it should.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if who.ca_bundle:
        made = _with_authorities(who.ca_bundle)
    elif encrypted:
        made = httpx.create_ssl_context()
    if who.client_cert:
        _show(made, who.client_cert, who.client_key)
    elif who.client_key:
        raise Unreachable("http.client_key needs http.client_cert; name the certificate, too")
    return made


def _with_authorities(bundle: Path) -> ssl.SSLContext:
    _expect("ca_bundle", bundle, "CERTIFICATE")
    try:
        return ssl.create_default_context(cafile=bundle)
    except ssl.SSLError as error:
        raise Unreachable(f"http.ca_bundle: the certificates in {bundle} cannot be read: {_said(error)}") from None


def _show(made: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    _expect("client_cert", certificate, "CERTIFICATE")
    _expect("client_key" if key else "client_cert", key or certificate, "PRIVATE KEY")
    try:
        made.load_cert_chain(certificate, key, password=_no_passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise Unreachable(f"http.client_key: {key or certificate} is not the key of {certificate}") from None
        raise Unreachable(f"http.client_cert: {certificate} and its key cannot be read: {_said(error)}") from None


def _expect(setting: str, path: Path, kind: str) -> None:
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise Unreachable(f"http.{setting}: the file {path} cannot be read: {error.strerror}") from None
    if f"{kind}-----" not in text:
        raise Unreachable(f"http.{setting}: {path} holds no {kind.lower()} in PEM form")


def _no_passphrase() -> str:
    raise Unreachable("http.client_key: the key has a passphrase, which nobody is there to type; store it without one")


def fault(error: Exception, place: str) -> str | None:
    """Say in a sentence why TLS failed, if it failed for a cause that trying again does not heal."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        mend = "; if the server is yours, name its authority in http.ca_bundle"
        return (
            f"{place} shows a certificate that is not accepted: {cause.verify_message.rstrip('.')}"
            f"{mend if cause.verify_code in _UNTRUSTED else ''}"
        )
    if isinstance(cause, ssl.SSLError) and cause.reason in _WANTED:
        return f"{place} did not accept this client ({_said(cause)}); set http.client_cert to the certificate it wants"
    return None


def _said(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).lower().replace("_", " ")
