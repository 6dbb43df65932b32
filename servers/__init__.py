"""Real servers from wheels (and MariaDB from the system), on loopback and free ports only.

A server lives in one folder: its data, its log (`server.log`) and its record (`server.json`, mode 0600: pid,
ports and generated secrets). The record is written as soon as the process exists, so that whoever comes later
can stop it; a pid counts as ours only while its command line is the same program on the same folder.

    store = SeaweedFS(folder, buckets=("marketplace",))
    start_all([store, Nats(other_folder)])
    store.s3                       # {"endpoint_url": …, "access_key_id": …, "secret_access_key": …, "region": …}
    stop_all([store])

Servers end with the process that started them, also if it is killed, unless it wants them to outlive it. Errors are
SluiceError and show the log's last lines.
"""

from servers.base import HOST, Server, end_with_this_process, free_ports, start_all, stop_all
from servers.mariadb import MariaDB
from servers.nats import Nats
from servers.pocketbase import PocketBase
from servers.postgres import Postgres
from servers.seaweedfs import SeaweedFS

__all__ = [
    "HOST",
    "MariaDB",
    "Nats",
    "PocketBase",
    "Postgres",
    "SeaweedFS",
    "Server",
    "end_with_this_process",
    "free_ports",
    "start_all",
    "stop_all",
]
