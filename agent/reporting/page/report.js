"use strict";
// The script of a report: unpacks the data, shows the table (only the rows in view are in the page), then the figures.
(function () {
  const ROW = 32, MARGIN = 12;
  const byId = (id) => document.getElementById(id);
  const make = (tag, text) => { const e = document.createElement(tag); if (text !== undefined) e.textContent = text; return e; };

  async function unpack(id) {
    const binary = atob(byId(id).textContent);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    byId(id).textContent = "";
    return new Response(stream).text();
  }

  // ---- table ----
  let table, order, view, sorted = { column: -1, down: false };
  const filters = new Map();

  function formulaInto(cell, text) {
    for (const part of text.split(/(\d+(?:\.\d+)?)/)) {
      const before = cell.lastChild;
      if (/^\d/.test(part) && before && before.nodeType === 3 && /[A-Za-z)\]]$/.test(before.data)) cell.append(make("sub", part));
      else if (part) cell.append(part);
    }
  }

  function shown(column, row) {
    const value = column.values[row];
    if (value === null) return "";
    if (column.kind === "number") return value.toFixed(column.digits);
    return column.kind === "flag" ? (value ? "yes" : "no") : value;
  }

  function test(column, text) {
    text = text.trim();
    if (!text) return null;
    const values = column.values;
    if (column.kind === "number") {
      const range = text.match(/^([-+\d.e]+)\s*\.\.\s*([-+\d.e]+)$/), bound = text.match(/^(<=|>=|<|>|=)?\s*([-+\d.e]+)$/);
      if (range) { const a = +range[1], b = +range[2]; return (i) => values[i] !== null && values[i] >= a && values[i] <= b; }
      if (!bound || isNaN(+bound[2])) return undefined;
      const n = +bound[2], near = 0.5 * Math.pow(10, -column.digits);
      const ways = { "<": (v) => v < n, "<=": (v) => v <= n, ">": (v) => v > n, ">=": (v) => v >= n };
      const way = ways[bound[1]] || ((v) => Math.abs(v - n) <= near);
      return (i) => values[i] !== null && way(values[i]);
    }
    if (column.kind === "flag") { const yes = /^y|^1|^t/i.test(text) ? 1 : 0; return (i) => values[i] === yes; }
    if (column.kind === "formula" && /^(-?[A-Z][a-z]?)([\s,]+-?[A-Z][a-z]?)*$/.test(text)) {
      const wanted = text.split(/[\s,]+/).map((w) => [w[0] !== "-", new RegExp(w.replace("-", "") + "(?![a-z])")]);
      return (i) => values[i] !== null && wanted.every(([yes, element]) => element.test(values[i]) === yes);
    }
    const low = text.toLowerCase();
    return (i) => values[i] !== null && values[i].toLowerCase().includes(low);
  }

  function refilter() {
    const tests = [];
    for (const [place, input] of filters) {
      const found = test(table.columns[place], input.value);
      input.setAttribute("aria-invalid", String(found === undefined));
      if (found) tests.push(found);
    }
    const text = byId("search").value.trim().toLowerCase();
    if (text) {
      const texts = table.columns.filter((c) => c.kind === "text" || c.kind === "formula");
      tests.push((i) => texts.some((c) => c.values[i] !== null && c.values[i].toLowerCase().includes(text)));
    }
    view = tests.length ? order.filter((i) => tests.every((t) => t(i))) : order;
    byId("count").textContent = view.length.toLocaleString("en") + " of " + table.n_rows.toLocaleString("en") + " rows";
    byId("view").scrollTop = 0;
    render();
  }

  function sortBy(place) {
    const column = table.columns[place], values = column.values;
    sorted = { column: place, down: sorted.column === place ? !sorted.down : column.kind === "flag" };
    const sign = sorted.down ? -1 : 1;
    order = Int32Array.from({ length: table.n_rows }, (_, i) => i);
    // Empty cells stand last either way; equal ones keep their rank.
    order.sort((a, b) => {
      const x = values[a], y = values[b];
      if (x === y) return a - b;
      if (x === null) return 1;
      if (y === null) return -1;
      return x < y ? -sign : sign;
    });
    document.querySelectorAll("#view thead th").forEach((th, i) => {
      th.setAttribute("aria-sort", i === place ? (sorted.down ? "descending" : "ascending") : "none");
      th.querySelector(".mark").textContent = i === place ? (sorted.down ? " ▼" : " ▲") : "";
    });
    refilter();
  }

  function render() {
    const box = byId("view"), body = box.querySelector("tbody");
    const first = Math.max(0, Math.floor(box.scrollTop / ROW) - MARGIN);
    const last = Math.min(view.length, first + Math.ceil((box.clientHeight || 600) / ROW) + 2 * MARGIN);
    const space = (height) => {
      const row = make("tr"), cell = make("td");
      row.className = "space"; cell.colSpan = table.columns.length; cell.style.height = height + "px"; row.append(cell);
      return row;
    };
    const rows = [space(first * ROW)];
    for (let k = first; k < last; k++) {
      const row = make("tr");
      for (const column of table.columns) {
        const cell = make("td"), text = shown(column, view[k]);
        cell.className = column.kind;
        if (column.kind === "formula") formulaInto(cell, text); else cell.textContent = text;
        if (column.kind === "text" && text.length > 24) cell.title = text;
        row.append(cell);
      }
      rows.push(row);
    }
    rows.push(space((view.length - last) * ROW));
    body.replaceChildren(...rows);
  }

  function showTable(chosen) {
    table = chosen;
    order = Int32Array.from({ length: table.n_rows }, (_, i) => i);
    sorted = { column: -1, down: false };
    filters.clear();
    const head = make("tr");
    table.columns.forEach((column, place) => {
      const th = make("th"), button = make("button", column.title), mark = make("span", ""), input = make("input");
      th.scope = "col"; mark.className = "mark"; button.type = "button"; button.append(mark);
      button.addEventListener("click", () => sortBy(place));
      input.setAttribute("aria-label", "Filter " + column.title); input.dataset.key = column.key; input.autocomplete = "off";
      input.addEventListener("input", refilter);
      filters.set(place, input);
      th.append(button, input);
      head.append(th);
    });
    document.querySelector("#view thead").replaceChildren(head);
    refilter();
  }

  function download() {
    // A cell that a spreadsheet would run as a formula gets a quote before it.
    const cell = (text) => {
      if (/^[=+\-@\t]/.test(text) && isNaN(+text)) text = "'" + text;
      return /[",\n\r]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
    };
    const lines = [table.columns.map((c) => cell(c.title)).join(",")];
    for (const i of view) lines.push(table.columns.map((c) => cell(String(shown(c, i)))).join(","));
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
    link.download = "candidates.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  // ---- figures ----
  const drawn = new Set();
  let figures = {}, structures = [];
  const options = { responsive: true, displaylogo: false, modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]] };

  function colours() {
    const style = getComputedStyle(document.documentElement), of = (name) => style.getPropertyValue(name).trim();
    return { ink: of("--ink"), rule: of("--rule"), panel: of("--panel") };
  }

  function dressed(layout, narrow) {
    const c = colours(), out = structuredClone(layout);
    out.paper_bgcolor = out.plot_bgcolor = "rgba(0,0,0,0)";
    out.font = { color: c.ink, size: narrow ? 11 : 12, family: "system-ui, sans-serif" };
    out.hoverlabel = { align: "left" };
    out.modebar = { bgcolor: "rgba(0,0,0,0)", color: c.ink, activecolor: "#D55E00" };
    for (const axis of ["xaxis", "yaxis"]) out[axis] = Object.assign({}, out[axis], { gridcolor: c.rule, linecolor: c.rule });
    return out;
  }

  function draw(box) {
    if (drawn.has(box) || !window.Plotly) return;
    drawn.add(box);
    const figure = figures[box.dataset.figure], narrow = box.clientWidth < 560;
    const data = structuredClone(figure.data), layout = dressed(figure.layout, narrow);
    for (const trace of data) {
      const bar = trace.colorbar || (trace.marker && trace.marker.colorbar);
      if (bar && narrow) Object.assign(bar, { orientation: "h", y: 1, yanchor: "bottom", len: 1 });
      if (bar && narrow) bar.title.side = "top";
      if (trace.type === "heatmap" && narrow) trace.xgap = trace.ygap = 1;
    }
    if (data.some((t) => t.type === "heatmap")) {
      for (const axis of [layout.xaxis, layout.yaxis]) { axis.visible = false; axis.fixedrange = narrow; }
      layout.margin = { l: 4, r: 4, t: narrow ? 4 : 28, b: 4 };
      Object.assign(layout.yaxis, { scaleanchor: "x", constrain: "domain" });
      layout.xaxis.constrain = "domain";
    }
    if (narrow) layout.dragmode = false;
    window.Plotly.newPlot(box, data, layout, narrow ? { ...options, displayModeBar: false } : options);
  }

  function redress() {
    for (const box of drawn) {
      const layout = dressed(figures[box.dataset.figure].layout, box.clientWidth < 560);
      window.Plotly.relayout(box, {
        "font.color": layout.font.color, "xaxis.gridcolor": layout.xaxis.gridcolor, "yaxis.gridcolor": layout.yaxis.gridcolor,
      });
    }
  }

  // Paper is narrower than the screen, and drawings do not follow it by themselves.
  function onPaper(printing) {
    for (const box of drawn) {
      const wide = box.closest("figure").classList.contains("wide");
      window.Plotly.relayout(box, printing ? { autosize: false, width: wide ? 640 : 300, height: wide ? 380 : 290, "legend.y": -0.42 }
        : { autosize: true, width: null, height: null, "legend.y": -0.22 });
    }
  }

  // Structures: a picture of each, made one after the other; the one that is clicked turns. Browsers have few 3D contexts.
  const hidden = { visible: false, showspikes: false };
  const solidLayout = () => ({
    scene: { xaxis: hidden, yaxis: hidden, zaxis: hidden, aspectmode: "data", dragmode: "orbit",
      camera: { projection: { type: "orthographic" }, eye: { x: 1.5, y: 0.7, z: 0.5 } } },
    margin: { l: 0, r: 0, t: 0, b: 0 }, paper_bgcolor: "rgba(0,0,0,0)", showlegend: true,
    legend: { orientation: "h", x: 0, y: 0, bgcolor: "rgba(0,0,0,0)", itemsizing: "trace" },
    font: { color: "#808080", size: 12, family: "system-ui, sans-serif" }, // a picture is seen on light and dark pages
  });
  let turning = null;

  async function picture(box) {
    const size = { width: Math.max(box.clientWidth, 200), height: 260 };
    const away = make("div");
    away.style.cssText = "position:absolute;left:-9999px;top:0;width:" + size.width + "px;height:260px";
    document.body.append(away);
    try {
      await window.Plotly.newPlot(away, structuredClone(structures[+box.dataset.structure]), solidLayout(), { staticPlot: true });
      const image = make("img");
      image.alt = ""; image.src = await window.Plotly.toImage(away, { format: "png", scale: 2, ...size });
      box.replaceChildren(image);
    } catch (error) {
      box.replaceChildren(make("p", "No picture: this browser draws nothing in three dimensions (WebGL is off)."));
    }
    window.Plotly.purge(away);
    away.remove();
  }

  async function turn(box) {
    if (turning === box || !window.Plotly) return;
    if (turning) { const last = turning; window.Plotly.purge(last); await picture(last); }
    turning = box;
    box.replaceChildren();
    await window.Plotly.newPlot(box, structuredClone(structures[+box.dataset.structure]), solidLayout(), { displayModeBar: false, responsive: true });
  }

  const rest = () => new Promise((done) => setTimeout(done, 0));

  async function start() {
    const data = JSON.parse(await unpack("data"));
    const tables = data.tables;
    byId("first-rows").style.display = "none";
    byId("browser").hidden = false;
    const choice = document.querySelector("#which select");
    tables.forEach((t, i) => { const o = make("option", t.label); o.value = i; choice.append(o); });
    byId("which").hidden = tables.length < 2;
    choice.addEventListener("change", () => showTable(tables[+choice.value]));
    byId("search").addEventListener("input", refilter);
    byId("download").addEventListener("click", download);
    byId("view").addEventListener("scroll", () => requestAnimationFrame(render), { passive: true });
    showTable(tables[0]);
    document.documentElement.dataset.tableReady = Math.round(performance.now());

    figures = data.figures; structures = data.structures;
    await rest();
    const script = make("script");
    script.textContent = await unpack("plotly");
    document.head.append(script);
    document.documentElement.dataset.ready = Math.round(performance.now());
    const boxes = [...document.querySelectorAll(".plot")];
    const watch = new IntersectionObserver((seen) => seen.filter((s) => s.isIntersecting).forEach((s) => draw(s.target)));
    boxes.forEach((box) => watch.observe(box));
    addEventListener("beforeprint", () => { boxes.forEach(draw); onPaper(true); });
    addEventListener("afterprint", () => onPaper(false));
    for (const scheme of ["(prefers-color-scheme: dark)", "print"]) matchMedia(scheme).addEventListener("change", redress);
    for (const box of boxes) { await rest(); draw(box); }
    for (const box of document.querySelectorAll(".solid")) {
      box.addEventListener("click", () => turn(box));
      box.addEventListener("keydown", (e) => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); turn(box); } });
      await rest();
      await picture(box);
    }
    document.documentElement.dataset.drawn = Math.round(performance.now());
  }

  start();
})();
