"""The canonical address of a Redis URL, for messages and for naming a store: without credentials."""

from __future__ import annotations

import re
from urllib.parse import parse_qs

UNREADABLE_ADDRESS = "(REDIS_URL can't be read)"
_ADDRESS = re.compile(
    r"(?P<scheme>unix|rediss?(?:\+sentinel|\+cluster)?)://(?:[^/?#\s]*@)?(?P<hosts>[^@/?#\s]*)"
    r"(?P<path>/[^@?#\s]*)?(?:\?(?P<options>[^@#\s]*))?"
)
_HOST = re.compile(r"(?P<name>[\w.-]*|\[[0-9A-Fa-f:.%\w]+\])(?::(?P<port>[0-9]{1,5}))?")
_PATHS = {
    "server": re.compile(r"/?(?P<service>)(?P<database>[0-9]{0,9})"),
    "sentinel": re.compile(r"/?(?P<service>[\w.-]*)/?(?P<database>[0-9]{0,9})"),
    "cluster": re.compile(r"/?(?P<service>)(?P<database>0?)"),
}


def address_of(redis_url: str) -> str:
    """Return the canonical address of a Redis URL: no credentials, no options, defaults written out.

    Two spellings of one server and database have one address. For a URL that can't be split unambiguously, such as one
    whose password has a bare slash, it is ``UNREADABLE_ADDRESS``: any part may belong to the password.
    """
    url = redis_url.strip()
    if not url:
        return ""
    found = _ADDRESS.fullmatch(url)
    if found is None:
        return UNREADABLE_ADDRESS
    scheme, path = found["scheme"], found["path"] or ""
    (number,) = parse_qs(found["options"] or "").get("db", [""])[:1]
    if scheme == "unix":
        return f"unix://{path}" + (f"?db={number}" if number.strip("0") and number.isdecimal() else "")
    kind = scheme.partition("+")[2] or "server"
    hosts = [_HOST.fullmatch(host) for host in found["hosts"].split(",")]
    place = _PATHS[kind].fullmatch(path.rstrip("/"))
    if place is None or not re.fullmatch("[0-9]{0,9}", number) or (len(hosts) > 1 and kind == "server"):
        return UNREADABLE_ADDRESS
    port = 26379 if kind == "sentinel" else 6379
    named = sorted(f"{host['name'].lower() or 'localhost'}:{int(host['port'] or port)}" for host in hosts if host)
    if len(named) < len(hosts):
        return UNREADABLE_ADDRESS
    service = f"/{place['service'] or 'mymaster'}" if kind == "sentinel" else ""
    return f"{scheme}://{','.join(named)}{service}/{int(number or place['database'] or 0)}"
