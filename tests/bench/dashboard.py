#!/usr/bin/env python3
"""The Grafana dashboard as a picture, without Grafana, which no package registry has.

    tests/bench/dashboard.py BINARY OUT.png [--seconds 150]

A real daemon under the load and the faults of the soak is scraped by a real Prometheus; every panel of
deploy/grafana/countersign.json is drawn at its place from what its queries give, by a browser (chromium). It shows
what an operator would see there: panels that stay empty, units that are wrong, lines that nobody can tell apart.
The drawing is ours, so colours and legends are not Grafana's.
"""
import argparse, asyncio, html, importlib.util, json, math, os, pathlib, re, subprocess, sys, tempfile, time
import urllib.parse, urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
COLOURS = ["#1f78b4", "#33a02c", "#e31a1c", "#ff7f00", "#6a3d9a", "#b15928", "#17becf", "#7f7f7f", "#bcbd22", "#e377c2"]
CELL, ROW = 50, 32

spec = importlib.util.spec_from_file_location("soak", HERE / "soak.py")
soak = importlib.util.module_from_spec(spec)
spec.loader.exec_module(soak)


def prometheus(folder, ops_url):
    target = ops_url.removeprefix("http://")
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 3s}\nscrape_configs:\n- job_name: countersign\n"
        f"  static_configs: [{{targets: ['{target}']}}]\n")
    address = "127.0.0.1:19099"
    process = subprocess.Popen(
        ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb",
         f"--web.listen-address={address}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return process, f"http://{address}"


def ask(base, expression, began, ended):
    query = urllib.parse.urlencode({"query": expression, "start": began, "end": ended, "step": 3})
    with urllib.request.urlopen(f"{base}/api/v1/query_range?{query}", timeout=20) as answer:
        return json.load(answer)["data"]["result"]


def series_of(panel, base, began, ended):
    found = []
    for target in panel.get("targets", []):
        expression = target["expr"].replace("$instance", ".*").replace("$__rate_interval", "15s")
        for one in ask(base, expression, began, ended):
            legend = re.sub(r"{{\s*(\w+)\s*}}", lambda name: one["metric"].get(name[1], ""), target.get("legendFormat", ""))
            points = [(float(at), float(value)) for at, value in one["values"]]
            found.append((legend, [(at, value) for at, value in points if math.isfinite(value)]))
    return found


def shown(value, unit):
    if unit in ("bytes", "decbytes"):
        return f"{value / 2**20:.1f} MiB"
    if unit == "s" and 0 < abs(value) < 1:
        return f"{value * 1000:.3g} ms"
    return f"{value:.4g} {unit}".strip()


def drawn(panel, series, began, ended):
    unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit", "")
    place = panel["gridPos"]
    width, height = place["w"] * CELL - 12, place["h"] * ROW - 12
    title = html.escape(panel["title"])
    style = f"left:{place['x'] * CELL}px;top:{place['y'] * ROW}px;width:{width}px;height:{height}px"
    if panel["type"] == "row":
        return f'<h2 style="{style}">{title}</h2>'
    if not any(points for _, points in series):
        return f'<div class="panel empty" style="{style}"><b>{title}</b><p>no data</p></div>'
    if panel["type"] == "stat":
        last = [f"<p>{html.escape(shown(points[-1][1], unit))}</p><i>{html.escape(legend)}</i>"
                for legend, points in series if points]
        return f'<div class="panel stat" style="{style}"><b>{title}</b>{"".join(last)}</div>'
    top = max(value for _, points in series for _, value in points) or 1.0
    low = min(0.0, min(value for _, points in series for _, value in points))
    plot_h, plot_w = height - 78, width - 90
    lines, legends = [], []
    for number, (legend, points) in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{80 + plot_w * (at - began) / (ended - began):.1f},"
                        f"{plot_h * (1 - (value - low) / (top - low)):.1f}" for at, value in points)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        legends.append(f'<span style="color:{colour}">{html.escape(legend)}</span>')
    axis = "".join(f'<text x="74" y="{plot_h * (1 - part) + 4}" text-anchor="end">'
                   f'{html.escape(shown(low + (top - low) * part, unit))}</text>'
                   f'<line x1="80" x2="{80 + plot_w}" y1="{plot_h * (1 - part)}" y2="{plot_h * (1 - part)}"/>'
                   for part in (0, 0.5, 1))
    return (f'<div class="panel" style="{style}"><b>{title}</b>'
            f'<svg width="{width}" height="{plot_h + 12}" viewBox="0 -6 {width} {plot_h + 12}">{axis}{"".join(lines)}</svg>'
            f'<div class="legend">{" ".join(legends)}</div></div>')


def page(dashboard, base, began, ended):
    parts, empty = [], []
    for panel in dashboard["panels"]:
        series = series_of(panel, base, began, ended)
        if panel["type"] != "row" and not any(points for _, points in series):
            empty.append(panel["title"])
        parts.append(drawn(panel, series, began, ended))
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"]) * ROW
    style = ("body{font:13px sans-serif;margin:0;background:#f4f5f5;position:relative;width:1212px;height:%dpx}"
             ".panel,h2{position:absolute;box-sizing:border-box;margin:6px}.panel{background:#fff;border:1px solid #ddd;"
             "padding:6px 8px;overflow:hidden}h2{font-size:15px;padding:4px}.stat p{font-size:26px;margin:10px 0 0}"
             ".empty{color:#a00}svg{font-size:10px;display:block}svg line{stroke:#e4e4e4}.legend{line-height:1.5}"
             ".legend span{margin-right:10px;white-space:nowrap}" % bottom)
    return f"<!doctype html><meta charset=utf-8><style>{style}</style>{''.join(parts)}", bottom, empty


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("binary")
    arguments.add_argument("out")
    arguments.add_argument("--seconds", type=float, default=150)
    given = arguments.parse_args()
    dashboard = json.loads((ROOT / "deploy/grafana/countersign.json").read_text())
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        daemon = soak.Daemon(os.path.abspath(given.binary), folder)
        scraper, base = prometheus(folder, daemon.urls["ops_url"])
        try:
            for fault in soak.FAULTS:
                soak.post(f"{daemon.emulated['control_url']}/_test/faults", {**fault, "count": 1_000_000})
            began = time.time()
            asyncio.run(soak.Client(daemon, 500).at_rate(50, given.seconds, "picture", signs=4))
            text, bottom, empty = page(dashboard, base, began, time.time())
        finally:
            scraper.kill()
            daemon.stop()
        (folder / "page.html").write_text(text)
        subprocess.run(
            ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             f"--window-size=1212,{bottom}", f"--screenshot={os.path.abspath(given.out)}", f"file://{folder}/page.html"],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print("panels without data:", ", ".join(empty) or "none")
    sys.exit(1 if empty else 0)


if __name__ == "__main__":
    main()
