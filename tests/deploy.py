#!/usr/bin/env python3
"""Checks the files under deploy/ as far as that is possible without a cluster and a container engine.

promtool and hadolint must be there (scripts/test installs them); systemd-analyze and kubectl are used where they are,
and it is said where they are not. What is never checked here: that images build, that compose starts, that a cluster
takes the manifests.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
PROMTOOL = os.environ.get("PROMTOOL", "promtool")
HADOLINT = Path(sys.executable).parent / "hadolint"


def run(*command, cwd=DEPLOY) -> str:
    """What a command prints; ends with what it prints where it fails."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}")
    return done.stdout


def documents(path: Path) -> list:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def every_yaml_file_can_be_read():
    paths = sorted(DEPLOY.rglob("*.yaml"))
    assert paths and all(documents(path) for path in paths)


def rules_are_valid_and_every_alert_fires_in_its_test():
    folder = DEPLOY / "prometheus"
    run(PROMTOOL, "check", "config", "prometheus.yaml", cwd=folder)
    run(PROMTOOL, "check", "rules", "--lint-fatal", "alerts.yaml", cwd=folder)
    run(PROMTOOL, "test", "rules", "alerts_test.yaml", cwd=folder)
    rules = [rule for group in documents(folder / "alerts.yaml")[0]["groups"] for rule in group["rules"]]
    alerts = {rule["alert"] for rule in rules if "alert" in rule}
    tests = documents(folder / "alerts_test.yaml")[0]["tests"]
    tested = {case["alertname"] for test in tests for case in test.get("alert_rule_test", []) if case["exp_alerts"]}
    assert alerts == tested, alerts ^ tested
    told = (DEPLOY.parent / "docs/operations.md").read_text()
    missing = [alert for alert in alerts if f"`{alert}`" not in told]
    assert not missing, f"docs/operations.md says nothing of {missing}"


def expressions_of_the_dashboard_can_be_read():
    dashboard = json.loads((DEPLOY / "grafana/offer-ranker.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert expressions
    plain = [expression.replace("$__rate_interval", "5m").replace("$job", ".*") for expression in expressions]
    rules = [{"record": f"panel_{number}", "expr": expression} for number, expression in enumerate(plain)]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)
        file.flush()
        run(PROMTOOL, "check", "rules", file.name)


def the_dockerfile_has_no_findings():
    run(HADOLINT, "Dockerfile")


def the_systemd_unit_is_valid():
    if not shutil.which("systemd-analyze"):
        return "systemd-analyze is not here"
    unit = (DEPLOY / "offer-ranker.service").read_text()
    with tempfile.TemporaryDirectory() as folder:
        # The executable is not installed here; everything else is looked at as it is.
        path = Path(folder) / "offer-ranker.service"
        path.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={shutil.which('true')}", unit, flags=re.MULTILINE))
        run("systemd-analyze", "verify", path)
    return None


def the_manifests_belong_together():
    folder = DEPLOY / "kubernetes"
    listed = documents(folder / "kustomization.yaml")[0]["resources"]
    assert sorted(listed) == sorted(path.name for path in folder.glob("*.yaml") if path.name != "kustomization.yaml")
    kinds = {document["kind"]: document for name in listed for document in documents(folder / name)}
    template = kinds["Deployment"]["spec"]["template"]
    labels = template["metadata"]["labels"]
    selectors = [
        kinds["Deployment"]["spec"]["selector"]["matchLabels"],
        kinds["Service"]["spec"]["selector"],
        kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels.items() for selector in selectors), selectors
    (container,) = template["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    wanted = {port["targetPort"] for port in kinds["Service"]["spec"]["ports"]}
    wanted |= {container[probe]["httpGet"]["port"] for probe in ("livenessProbe", "readinessProbe")}
    assert wanted <= ports, wanted
    environment = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    stopping_s = sum(int(environment[f"OFFER_RANKER_{name}"]) / 1000 for name in ("DRAIN_DELAY_MS", "DRAIN_MS"))
    assert stopping_s < template["spec"]["terminationGracePeriodSeconds"], stopping_s
    volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts.keys() == volumes.keys(), mounts
    assert volumes["catalog"]["configMap"]["name"] == kinds["ConfigMap"]["metadata"]["name"]
    # Where decisions wait while the store is away must be within what is mounted for them.
    assert environment["OFFER_RANKER_SPOOL"].startswith(mounts["spool"] + "/"), environment
    if not shutil.which("kubectl"):
        return "kubectl is not here"
    built = list(yaml.safe_load_all(run("kubectl", "kustomize", folder)))
    assert {document["kind"] for document in built} == {*kinds, "Secret"}
    return None


def compose_mounts_files_that_are_there():
    services = documents(DEPLOY / "compose.yaml")[0]["services"]
    mounts = [mount for service in services.values() for mount in service.get("volumes", [])]
    paths = [DEPLOY / mount.split(":")[0] for mount in mounts if mount.startswith("./")]
    assert paths and all(path.exists() for path in paths), paths
    assert (DEPLOY.parent / services["offer-ranker"]["build"]["dockerfile"]).exists()


def main():
    checks = [
        every_yaml_file_can_be_read,
        rules_are_valid_and_every_alert_fires_in_its_test,
        expressions_of_the_dashboard_can_be_read,
        the_dockerfile_has_no_findings,
        the_systemd_unit_is_valid,
        the_manifests_belong_together,
        compose_mounts_files_that_are_there,
    ]
    for check in checks:
        left_out = check()
        print(f"{check.__name__.replace('_', ' ')}: {f'in part, {left_out}' if left_out else 'ok'}")


if __name__ == "__main__":
    main()
