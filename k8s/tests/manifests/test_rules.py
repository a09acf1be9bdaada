"""Alerts and dashboards: what promtool says of them. Whether their metrics exist is asked of live processes elsewhere."""

import json
import subprocess

import yaml

from chart import CHART, variant


def rules():
    (rule,) = [m for m in variant("monitoring") if m["kind"] == "PrometheusRule"]
    return rule["spec"]


def promtool(*arguments):
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_accepts_the_rules(tmp_path):
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules()))
    assert "SUCCESS" in promtool("check", "rules", str(tmp_path / "rules.yaml"))


def test_alerts_fire_when_they_should_and_only_then(tmp_path):
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules()))
    (tmp_path / "cases.yaml").write_text((CHART.parent / "tests/manifests/alerts.yaml").read_text())
    assert "SUCCESS" in promtool("test", "rules", str(tmp_path / "cases.yaml"))


def test_every_alert_says_what_is_wrong_and_how_bad_it_is():
    for group in rules()["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                assert rule["labels"]["severity"] in ("critical", "warning", "info")
                assert rule["annotations"]["summary"] and rule["annotations"]["description"]
            assert 'namespace="shop"' in rule["expr"] or "shop:" in rule["expr"]


def test_dashboards_are_whole():
    boards = [json.loads(path.read_text()) for path in sorted((CHART / "files/dashboards").glob("*.json"))]
    assert len({board["uid"] for board in boards}) == len(boards) == 3
    for board in boards:
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
        for panel in board["panels"]:
            assert panel["type"] == "row" or all(target["expr"] for target in panel["targets"]), panel["title"]
