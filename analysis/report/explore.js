(function () {
  // One drawing of all runs, by any two of their columns; what is hidden or pointed at here is so everywhere.
  var room = document.getElementById("explore");
  if (!room) return;
  var data = JSON.parse(room.getAttribute("data-runs")), names = data.columns.map(function (c) { return c[0]; });
  var runs = data.told.run_id, NS = "http://www.w3.org/2000/svg", W = 640, H = 400, L = 64, R = 16, T = 12, B = 46;
  var state = { x: first(["flops"]), y: first(["loss"]), xlog: true, ylog: true, by: "params", off: {}, view: null };
  var marks = [], shown = [];
  function first(wanted) {
    for (var i = 0; i < wanted.length; i++) if (names.indexOf(wanted[i]) >= 0) return names.indexOf(wanted[i]);
    return 0;
  }
  function make(kind, attributes, inside) {
    var one = document.createElement(kind);
    for (var name in attributes) one.setAttribute(name, attributes[name]);
    if (inside !== undefined) one.textContent = inside;
    return one;
  }
  function draw(kind, attributes, inside) {
    var one = document.createElementNS(NS, kind);
    for (var name in attributes) one.setAttribute(name, attributes[name]);
    if (inside !== undefined) one.textContent = inside;
    return one;
  }
  var UP = "⁰¹²³⁴⁵⁶⁷⁸⁹";
  function say(v, kind) {
    if (v === null || !isFinite(v)) return "–";
    if (kind === "count" && v >= 1000) {
      var k = v >= 1e12 ? 12 : v >= 1e9 ? 9 : v >= 1e6 ? 6 : 3;
      return +(v / Math.pow(10, k)).toPrecision(3) + { 3: "k", 6: "M", 9: "B", 12: "T" }[k];
    }
    if (v !== 0 && (kind === "power" || Math.abs(v) < 1e-4 || Math.abs(v) >= 1e6)) {
      var e = Math.floor(Math.log10(Math.abs(v)) + 1e-9), m = +(v / Math.pow(10, e)).toPrecision(2);
      var up = String(e).replace("-", "⁻").replace(/\d/g, function (d) { return UP[d]; });
      return (m === 1 ? "" : m + "×") + "10" + up;
    }
    return String(+v.toPrecision(4));
  }
  // The map of the figures, by rank: viridis without its pale end.
  var MAP = [[70, 50, 126], [54, 92, 141], [39, 127, 142], [31, 161, 135], [74, 193, 109], [160, 218, 57]];
  function colour(share) {
    var at = share * (MAP.length - 1), i = Math.min(MAP.length - 2, Math.floor(at)), f = at - i;
    return "rgb(" + MAP[i].map(function (c, k) { return Math.round(c + f * (MAP[i + 1][k] - c)); }) + ")";
  }
  function column(name) {
    return names.indexOf(name) >= 0 ? data.values[names.indexOf(name)] : data.told[name];
  }
  function key(i) {
    var v = (column(state.by) || [])[i];
    return typeof v === "number" ? say(v, "count") : v || "none";
  }
  function keys() {
    var found = {};
    runs.forEach(function (_, i) { var v = column(state.by); found[key(i)] = v ? v[i] : 0; });
    return Object.keys(found).sort(function (a, b) {
      return found[a] < found[b] ? -1 : found[a] > found[b] ? 1 : 0;
    });
  }
  function details(i) {
    var said = [runs[i]];
    ["grid", "width", "layers", "seed"].forEach(function (name) {
      if (data.told[name] && data.told[name][i]) said.push(name + " " + data.told[name][i]);
    });
    ["params", "tokens", "flops", "loss"].concat([names[state.x], names[state.y]]).forEach(function (name, k, all) {
      var at = names.indexOf(name), v = at < 0 ? null : data.values[at][i];
      if (v !== null && all.indexOf(name) === k) said.push(name + " " + say(v, data.columns[at][2]));
    });
    if (data.told.held_out && /^(true|1)/i.test(data.told.held_out[i])) said.push("held out");
    return said.join(" · ");
  }

  var bar = make("div", { "class": "controls" });
  function choose(label, options, value, change, log) {
    var group = make("span", {}), box = make("label", {}, label + " "), list = make("select", {});
    options.forEach(function (o) { list.appendChild(make("option", { value: o[0] }, o[1])); });
    list.value = value;
    list.addEventListener("change", function () { change(list.value); state.view = null; render(); });
    box.appendChild(list);
    group.appendChild(box);
    if (log) group.appendChild(tick(log));
    bar.appendChild(group);
  }
  function tick(name) {
    var box = make("label", {}), input = make("input", { type: "checkbox" });
    input.checked = state[name];
    input.addEventListener("change", function () { state[name] = input.checked; state.view = null; render(); });
    box.appendChild(input);
    box.appendChild(document.createTextNode(" log"));
    return box;
  }
  var axes = data.columns.map(function (c, i) { return [i, c[1]]; });
  choose("across", axes, state.x, function (v) { state.x = +v; }, "xlog");
  choose("up", axes, state.y, function (v) { state.y = +v; }, "ylog");
  var groups = [["params", "size"], ["seed", "seed"], ["grid", "grid"], ["held_out", "held out"], ["tokens", "tokens"]];
  choose("colour", groups.filter(function (g) { return column(g[0]); }), state.by, function (v) { state.by = v; state.off = {}; });
  [["+", "Zoom in", 0.5], ["−", "Zoom out", 2], ["all", "Show all", 0]].forEach(function (one) {
    var button = make("button", { type: "button", title: one[1], "aria-label": one[1] }, one[0]);
    button.addEventListener("click", function () { zoom(one[2]); });
    bar.appendChild(button);
  });
  var legend = make("div", { "class": "legend", role: "group", "aria-label": "Show or hide" });
  var paper = make("div", { "class": "paper" });
  var svg = draw("svg", { viewBox: "0 0 " + W + " " + H, role: "img", tabindex: "0", "aria-describedby": "hint" });
  paper.appendChild(svg);
  [bar, legend, paper].forEach(function (one) { room.appendChild(one); });
  room.hidden = false;
  document.querySelector(".alive").hidden = false;

  function scale(v, log) { return log ? Math.log10(v) : v; }
  function good(v, log) { return v !== null && isFinite(v) && (!log || v > 0); }
  function extent(at, log, other, otherlog) {
    var low = Infinity, high = -Infinity;
    data.values[at].forEach(function (v, i) {
      if (!good(v, log) || !good(data.values[other][i], otherlog) || state.off[key(i)]) return;
      low = Math.min(low, scale(v, log));
      high = Math.max(high, scale(v, log));
    });
    if (low > high) return [0, 1];
    var room = 0.06 * (high - low) || 0.1;
    return [low - room, high + room];
  }
  function ticks(low, high, log) {
    var out = [], v;
    if (log && high - low > 0.5) {
      var steps = high - low > 4 ? [1] : high - low > 1.6 ? [1, 3] : [1, 2, 5];
      for (var e = Math.floor(low); e <= high; e++) steps.forEach(function (m) {
        v = e + Math.log10(m);
        if (v >= low && v <= high) out.push([v, m * Math.pow(10, e)]);
      });
      return out.filter(function (_, i) { return i % Math.ceil(out.length / 7) === 0; });
    }
    var a = log ? Math.pow(10, low) : low, b = log ? Math.pow(10, high) : high;
    var raw = (b - a) / 5, ten = Math.pow(10, Math.floor(Math.log10(raw)));
    var step = ten * (raw / ten > 5 ? 10 : raw / ten > 2 ? 5 : raw / ten > 1 ? 2 : 1);
    for (v = Math.ceil(a / step) * step; v <= b; v += step) out.push([scale(v, log), v]);
    return out;
  }
  function zoom(factor) {
    if (factor === 0) state.view = null;
    else state.view = view().map(function (span) {
      var middle = (span[0] + span[1]) / 2, half = (span[1] - span[0]) / 2 * factor;
      return [middle - half, middle + half];
    });
    render();
  }
  function view() { return state.view || [
    extent(state.x, state.xlog, state.y, state.ylog), extent(state.y, state.ylog, state.x, state.xlog)
  ]; }
  function place(v, span, from, to) { return from + (v - span[0]) / (span[1] - span[0]) * (to - from); }

  function render() {
    var spans = view(), xs = data.values[state.x], ys = data.values[state.y], all = keys();
    var xc = data.columns[state.x], yc = data.columns[state.y];
    svg.textContent = "";
    marks = [];
    shown = [];
    ticks(spans[0][0], spans[0][1], state.xlog).forEach(function (t) {
      var x = place(t[0], spans[0], L, W - R);
      svg.appendChild(draw("path", { d: "M" + x + " " + T + "V" + (H - B), stroke: "#e7e9ee" }));
      svg.appendChild(draw("text", { x: x, y: H - B + 17, "text-anchor": "middle" }, say(t[1], xc[2])));
    });
    ticks(spans[1][0], spans[1][1], state.ylog).forEach(function (t) {
      var y = place(t[0], spans[1], H - B, T);
      svg.appendChild(draw("path", { d: "M" + L + " " + y + "H" + (W - R), stroke: "#e7e9ee" }));
      svg.appendChild(draw("text", { x: L - 7, y: y + 4, "text-anchor": "end" }, say(t[1], yc[2])));
    });
    svg.appendChild(draw("path", { d: "M" + L + " " + T + "V" + (H - B) + "H" + (W - R), stroke: "#c3c8d2", fill: "none" }));
    svg.appendChild(draw("text", { x: (L + W - R) / 2, y: H - 8, "text-anchor": "middle" }, xc[1]));
    svg.appendChild(draw("text", { transform: "translate(14 " + (T + H - B) / 2 + ") rotate(-90)", "text-anchor": "middle" }, yc[1]));
    runs.forEach(function (run, i) {
      if (!good(xs[i], state.xlog) || !good(ys[i], state.ylog) || state.off[key(i)]) return;
      var a = scale(xs[i], state.xlog), b = scale(ys[i], state.ylog);
      if (a < spans[0][0] || a > spans[0][1] || b < spans[1][0] || b > spans[1][1]) return;
      var held = data.told.held_out && /^(true|1)/i.test(data.told.held_out[i]);
      var hue = colour(all.length < 2 ? 0.5 : all.indexOf(key(i)) / (all.length - 1));
      var dot = draw("circle", {
        cx: place(a, spans[0], L, W - R), cy: place(b, spans[1], H - B, T), r: 5.5, "data-run": run, "data-hint": details(i),
        fill: held ? "#fff" : hue, stroke: held ? hue : "#fff", "stroke-width": held ? 2 : 1
      });
      svg.appendChild(dot);
      marks.push(dot);
      shown.push(run);
    });
    svg.setAttribute("aria-label", marks.length + " runs: " + yc[1] + " against " + xc[1] + ". Arrow keys go through them.");
    legend.textContent = "";
    all.forEach(function (name, k) {
      var button = make("button", { type: "button", "aria-pressed": String(!state.off[name]) }, name);
      button.style.setProperty("--dot", colour(all.length < 2 ? 0.5 : k / (all.length - 1)));
      button.addEventListener("click", function () {
        state.off[name] = !state.off[name];
        render();
        legend.children[k].focus();
      });
      legend.appendChild(button);
    });
    // Elsewhere what is off is pale, so that a figure stays what it was drawn as.
    var off = {};
    runs.forEach(function (run, i) { if (state.off[key(i)]) off[run] = true; });
    document.querySelectorAll("figure [data-run]").forEach(function (mark) {
      mark.classList.toggle("pale", !!off[mark.getAttribute("data-run")]);
    });
  }
  window.speak(svg, function () { return marks; });

  // A drag frames what is to be seen; the frame is in the drawing's own units.
  var from = null, frame = null;
  function at(event) {
    var box = svg.getBoundingClientRect();
    return [(event.clientX - box.left) * W / box.width, (event.clientY - box.top) * H / box.height];
  }
  svg.addEventListener("pointerdown", function (event) {
    if (event.pointerType === "touch") return;
    from = at(event);
    frame = draw("rect", { "class": "frame" });
    svg.appendChild(frame);
    event.preventDefault();
  });
  addEventListener("pointermove", function (event) {
    if (!from) return;
    var to = at(event);
    frame.setAttribute("x", Math.min(from[0], to[0]));
    frame.setAttribute("y", Math.min(from[1], to[1]));
    frame.setAttribute("width", Math.abs(to[0] - from[0]));
    frame.setAttribute("height", Math.abs(to[1] - from[1]));
  });
  addEventListener("pointerup", function (event) {
    if (!from) return;
    var to = at(event), spans = view(), start = from;
    from = null;
    if (Math.abs(to[0] - start[0]) < 8 || Math.abs(to[1] - start[1]) < 8) { frame.remove(); return; }
    function back(v, span, a, b) { return span[0] + (v - a) / (b - a) * (span[1] - span[0]); }
    state.view = [
      [start[0], to[0]].map(function (v) { return back(v, spans[0], L, W - R); }),
      [start[1], to[1]].map(function (v) { return back(v, spans[1], H - B, T); })
    ].map(function (pair) { return pair.sort(function (a, b) { return a - b; }); });
    render();
  });
  svg.addEventListener("dblclick", function () { zoom(0); });
  render();
})();
