from typing import Any


def model(dbt: Any, session: Any) -> Any:
    """Trips per length in steps of ten minutes."""
    trips = dbt.ref("fct_trips")
    return trips.aggregate("10 * (minutes // 10) as minutes, count(*) as trips", "10 * (minutes // 10)")
