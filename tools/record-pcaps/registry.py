"""The list of all recordings: what each shows, how it is made, which tests replay it."""

from pcapng import FROM_SERVER

SCENARIOS = []


def scenario(shows, **settings):
    """Registers a recording, named like its function. Settings: `client` and `server` (sysctls),
    `rule` (what the link does to a packet), `mtu`, `delay` (seconds each way), `vantage` (whose
    device stamps the times), `tests`."""

    def register(function):
        name = function.__name__.replace("_", "-")
        tests = settings.pop("tests", (function.__name__,))
        SCENARIOS.append({
            "name": name, "run": function, "shows": shows, "how": function.__doc__,
            "kind": function.__module__, "tests": tests,
            "client": {}, "server": {}, "rule": lambda: lambda packet: None,
            "mtu": 1500, "delay": 0.005, "vantage": FROM_SERVER, **settings,
        })
        return function

    return register
