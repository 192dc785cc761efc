"""The pool's own keys. A process that does not hold them cannot exchange a byte with the pool.

Each pool has a certificate authority of its own, which signs one certificate. The authority's private key is discarded
at once, so that nobody can sign a second one. All sides present this certificate and accept no other. Host names are
not checked: a compute node's address is not known before its job runs, and the key is the proof.
"""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from jobpool.host.private_directory import opened

if TYPE_CHECKING:
    from jobpool.host.home import PoolDirectory

__all__ = ["client_context", "make_keys", "server_context"]

VALID_FROM = datetime.datetime(1970, 1, 2, tzinfo=datetime.UTC)
VALID_UNTIL = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)
"""Always, as RFC 5280 writes it (4.1.2.5). A node's clock may be hours behind, or begin at zero if its battery is
empty. The keys end when they are deleted, together with the pool."""


def make_keys(directory: PoolDirectory) -> None:
    """Create the pool's keys and write them into its directory, with mode 0600."""
    # Imported here: it costs 50 ms, and only the server, once, makes keys.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    def certificate(
        name: str, key: ec.EllipticCurvePrivateKey, issuer: str, signer: ec.EllipticCurvePrivateKey, *, authority: bool
    ) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(VALID_FROM)
            .not_valid_after(VALID_UNTIL)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .sign(signer, hashes.SHA256())
        )

    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = certificate("jobpool authority", authority_key, "jobpool authority", authority_key, authority=True)
    own = certificate("jobpool", key, "jobpool authority", authority_key, authority=False)
    directory.write("ca.pem", authority.public_bytes(serialization.Encoding.PEM))
    directory.write("cert.pem", own.public_bytes(serialization.Encoding.PEM))
    directory.write(
        "key.pem",
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def server_context(path: Path) -> ssl.SSLContext:
    """Return the context of the side that listens: only holders of this pool's key get past the handshake.

    Raises ``OSError``, also if another user has replaced the pool's directory.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    return _with_keys(context, path)


def client_context(path: Path) -> ssl.SSLContext:
    """Return the context of the side that connects. Raises ``OSError``, as ``server_context`` does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    return _with_keys(context, path)


def _with_keys(context: ssl.SSLContext, path: Path) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    with opened(path) as place:
        context.load_verify_locations(place / "ca.pem")
        context.load_cert_chain(place / "cert.pem", place / "key.pem")
    return context
