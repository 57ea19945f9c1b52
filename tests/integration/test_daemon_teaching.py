"""Maintenance, feedback and baselines of a running gateway, by command, over a SIGKILL."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from gateway.cli.app import app
from tests.support.daemon import Gateway, Outside, until
from tests.support.modbus import Asked, ScriptedServer, scripted

CONFIG = """
[gateway]
id = "plant"
state_dir = "state"
[links.plc]
modbus_tcp = "127.0.0.1:<plc>"
[devices.pump]
link = "plc"
tags.speed = { register = "holding 0", every = "50ms", alarm = { score = 0.5 } }
tags.flow = { register = "holding 1", every = "50ms" }
[http]
listen = "127.0.0.1:<http>"
"""


def ask(gateway: Gateway, *words: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*words, "--config", str(gateway.config), "--json"])
    answer: dict[str, Any] = json.loads(done.stdout)
    assert done.exit_code == (0 if answer["ok"] else 1), done.stderr
    return answer


def tag(gateway: Gateway, name: str) -> Any:
    return next(one for one in gateway.get("/api/tags")["tags"] if one["name"] == name)


def test_what_operators_teach_is_told_and_holds_over_a_kill(tmp_path: Path) -> None:
    values = count()

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(asked.reply(data=(next(values) % 7).to_bytes(2, "big") * 2))

    with Outside() as outside:
        stack = AsyncExitStack()

        async def open_plc() -> ScriptedServer:
            return await stack.enter_async_context(scripted({1: answer}))

        plc = outside.run(open_plc())
        with Gateway(tmp_path, CONFIG.replace("<plc>", str(plc.port))) as gateway:
            gateway.start()
            until(lambda: tag(gateway, "pump.flow")["value"] is not None, "the pump is read")
            assert ask(gateway, "maintenance", "on", "pmup")["says"].startswith("there is no device pmup; ")
            assert ask(gateway, "maintenance", "on", "pump")["ok"]
            until(lambda: tag(gateway, "pump.speed")["in_maintenance"], "maintenance is shown")
            assert gateway.status()["devices"]["devices"][0]["in_maintenance"]
            assert ask(gateway, "feedback", "normal", "pump.speed")["says"].startswith(
                "number 1: pump.speed was normal; "
            )
            assert ask(gateway, "feedback", "undo", "7")["says"].startswith("there is no feedback 7; ")
            assert not ask(gateway, "baseline", "apply", "pump")["ok"]
            assert ask(gateway, "baseline", "learn", "pump.flow", "--for", "1s")["ok"]
            learned = "pump.flow: learned, not applied"
            until(lambda: learned in ask(gateway, "baseline", "show")["says"], "the baseline is learned")
            assert ask(gateway, "baseline", "learn", "pump.speed")["ok"]
            assert ask(gateway, "baseline", "apply", "pump")["says"] == "the baseline of 2 tags is in force"
            until(lambda: len(gateway.lines("baseline.applied")) == 2, "both are told")
            gateway.kill()
            kept = json.loads((tmp_path / "state/scores.json").read_text())
            assert (list(kept["maintenance"]), len(kept["feedback"]), len(kept["baselines"])) == (["pump"], 1, 2)

            gateway.start()
            until(lambda: tag(gateway, "pump.speed")["in_maintenance"], "maintenance still holds")
            assert ask(gateway, "maintenance", "list")["says"] == "under maintenance: pump"
            assert ask(gateway, "feedback", "undo", "1")["ok"]
            assert ask(gateway, "baseline", "lift", "pump")["ok"]
            assert ask(gateway, "maintenance", "off", "pump")["ok"]
            until(lambda: not tag(gateway, "pump.speed")["in_maintenance"], "maintenance is over")
            until(lambda: gateway.lines("maintenance.ended"), "that is told")
            until(lambda: len(gateway.lines("baseline.lifted")) >= 2, "the baselines are lifted")
            until(lambda: gateway.lines("score.eased"), "feedback is told")
        outside.run(stack.aclose())
