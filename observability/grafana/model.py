"""What Grafana 11 and newer calls a dashboard: rows of panels.

In an expression `@` stands for the chosen job and instance, `@job` for the job alone, where
what is asked for has no instance. Lines of thresholds are the alerts', read from their rules: a number stands in one place.
"""

import pathlib
import re

HERE = pathlib.Path(__file__).resolve().parent
RULES = (HERE.parent / "prometheus/rules.yaml").read_text()

COLUMNS = 24
HEIGHT = 8
GREEN, ORANGE, RED = "green", "orange", "red"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def threshold(alert):
    """Direction, number and severity of the first rule of an alert: (">", 0.7, "ticket")."""
    rule = RULES.split(f"- alert: {alert}\n", 1)[1]
    expression, rest = rule.split("labels:", 1)
    # Windows and `for` have no comparison; of several the first is the alert's own.
    direction, number = re.search(r"([<>])=? ([0-9.]+)", expression).groups()
    # Grafana colours from a number on, and 0 is what is well.
    return direction, float(number) or 0.001, re.search(r"severity: (\w+)", rest).group(1)


def steps(alerts):
    """What Grafana colours: below or above which numbers an alert fires."""
    found = [threshold(alert) for alert in alerts]
    colour = {"ticket": ORANGE, "page": RED}
    above = sorted((number, colour[severity]) for direction, number, severity in found if direction == ">")
    if above or not found:
        return [{"color": GREEN, "value": None}] + [{"color": name, "value": number} for number, name in above]
    below = sorted((number, colour[severity]) for _, number, severity in found)
    bounds = [None] + [number for number, _ in below]
    return [{"color": name, "value": bound} for bound, name in zip(bounds, [name for _, name in below] + [GREEN])]


def panel(title, unit, description, *queries, alerts=(), kind="timeseries", width=8, stacked=False, most=None):
    """Queries are pairs of an expression and a legend. Units are Grafana's: s, bytes, Bps, percentunit, ops (a second), short."""
    told = "".join(f"\n\nAlert: {alert}." for alert in alerts)
    defaults = {"unit": unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps(alerts)}}
    if most is not None:
        defaults["max"] = most
    options = {}
    if kind == "timeseries":
        defaults["custom"] = {
            "fillOpacity": 25 if stacked else 8,
            "lineWidth": 1,
            "showPoints": "never",
            "stacking": {"mode": "normal" if stacked else "none"},
            "thresholdsStyle": {"mode": "line" if alerts else "off"},
        }
        options = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    elif kind == "stat":
        options = {"colorMode": "value", "graphMode": "area", "reduceOptions": {"calcs": ["lastNotNull"]}}
    targets = []
    for number, (expression, legend) in enumerate(queries):
        expression = expression.replace("@job", 'job=~"$job"').replace("@", 'job=~"$job", instance=~"$instance"')
        target = {"refId": chr(ord("A") + number), "datasource": SOURCE, "expr": expression, "legendFormat": legend}
        if kind == "table":
            target |= {"format": "table", "instant": True}
        targets.append(target)
    return {
        "type": kind,
        "title": title,
        "description": description + told,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": targets,
        "gridPos": {"w": width, "h": HEIGHT},
    }


def quantiles(metric, labels, legend):
    """p50, p95 and p99 of what the rules record."""
    return [(f"hashmesh:{metric}:p{number}_rate5m{{{labels}}}", f"p{number} {legend}".strip()) for number in (50, 95, 99)]


def variable(name, label, query):
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def dashboard(name, title, description, *rows):
    """A row is a title and its panels, from left to right, in as many lines as they need."""
    panels, top = [], 0
    for row_title, *row_panels in rows:
        panels.append({"type": "row", "title": row_title, "collapsed": False, "panels": [], "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1}})
        top, left = top + 1, 0
        for one in row_panels:
            if left + one["gridPos"]["w"] > COLUMNS:
                top, left = top + HEIGHT, 0
            one["gridPos"] |= {"x": left, "y": top}
            left += one["gridPos"]["w"]
            panels.append(one)
        top += HEIGHT
    for number, one in enumerate(panels, start=1):
        one["id"] = number
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": {}}
    return {
        "uid": f"hashmesh-{name}",
        "title": f"hashmesh: {title}",
        "description": description,
        "tags": ["hashmesh"],
        "schemaVersion": 41,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "links": [
            {
                "type": "dashboards",
                "title": "hashmesh",
                "tooltip": "",
                "icon": "external link",
                "tags": ["hashmesh"],
                "asDropdown": True,
                "targetBlank": False,
                "keepTime": True,
                "includeVars": True,
            }
        ],
        "templating": {
            "list": [
                source,
                variable("job", "Role", "label_values(hashmesh_build_info, job)"),
                variable("instance", "Process", 'label_values(hashmesh_build_info{job=~"$job"}, instance)'),
            ]
        },
        "annotations": {
            "list": [
                {
                    "name": "pages",
                    "datasource": SOURCE,
                    "enable": True,
                    "iconColor": RED,
                    "expr": 'ALERTS{alertstate="firing", severity="page"}',
                    "titleFormat": "{{alertname}}",
                    "textFormat": "{{job}} {{instance}}",
                }
            ]
        },
        "panels": panels,
    }
