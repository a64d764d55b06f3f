// SPDX-License-Identifier: Apache-2.0
// What the page shows of answers: pictures with boxes, the canvas over the steps, and maps. Texts of answers are only
// ever set as text, never as HTML.
"use strict";
window.geodit = (() => {
  const COLORS = ["#d1245b", "#0b6bcb", "#a8500a", "#1a7f37", "#7a3bd0", "#8a5a00", "#0f7b7b", "#b3186d"];
  const VIRIDIS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  let numbers = 0;

  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === false || value === null || value === undefined) continue;
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (name === "style") Object.assign(element.style, value);
      else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  };
  const svg = (tag, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const percent = (value) => `${(100 * value).toFixed(value > 0.0995 && value < 0.9995 ? 0 : 1)}%`;
  const rounded = (value) => (Math.round(value * 10) / 10).toString();
  const colorOf = (label, labels) => COLORS[[...new Set(labels)].indexOf(label) % COLORS.length];

  const download = (name, text, kind) => {
    const address = URL.createObjectURL(new Blob([text], { type: kind }));
    const link = make("a", { href: address, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  };
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Without https only this way is open.
      const area = make("textarea", { style: { position: "fixed", opacity: 0 } });
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  };
  const button = (text, onclick, attributes = {}) =>
    make("button", { type: "button", class: "gd-button", onclick, ...attributes }, text);
  const stem = (name) => (name || "answer").replace(/\.[^.]*$/, "");

  const fileButtons = (value, name) => {
    const bar = make("div", { class: "gd-bar" });
    if (value.prediction) {
      const json = JSON.stringify(value.prediction, null, 2);
      const copied = button("Copy JSON", async () => {
        await copy(json);
        copied.textContent = "Copied";
        setTimeout(() => (copied.textContent = "Copy JSON"), 1500);
      });
      bar.append(copied, button("JSON", () => download(`${stem(name)}.json`, json, "application/json"), { title: "Download the answer as JSON" }));
    }
    if (value.geojson)
      bar.append(button("GeoJSON", () => download(`${stem(name)}.geojson`, JSON.stringify(value.geojson), "application/geo+json"), { title: "Download for a map, in longitude and latitude" }));
    if (value.coco)
      bar.append(button("COCO", () => download(`${stem(name)}.coco.json`, JSON.stringify(value.coco), "application/json"), { title: "Download as a COCO data set" }));
    return bar.children.length ? bar : null;
  };

  // A picture with boxes over it. Returns the element, with `show(boxes)` and `highlight(index)`.
  const stage = (picture, onpick) => {
    const image = make("img", { src: picture.src, alt: `${picture.name}, ${picture.width} by ${picture.height} pixels` });
    if (Math.max(picture.width, picture.height) < 400) image.classList.add("gd-pixels");
    const shapes = svg("svg", { viewBox: `0 0 ${picture.width} ${picture.height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    const labels = make("div", { class: "gd-labels", "aria-hidden": "true" });
    const frame = make("div", { class: "gd-stage" }, image, shapes, labels);
    frame.style.aspectRatio = `${picture.width} / ${picture.height}`;
    frame.show = (found) => {
      shapes.replaceChildren();
      labels.replaceChildren();
      (found.boxes || []).forEach((box, index) => {
        const label = found.labels[index];
        const color = colorOf(label, found.labels);
        const turned = found.corners && found.corners[index];
        const points = turned || [[box[0], box[1]], [box[2], box[1]], [box[2], box[3]], [box[0], box[3]]];
        const outline = svg("polygon", { points: points.map((point) => point.join(",")).join(" "), stroke: color, "data-index": index });
        outline.addEventListener("mouseenter", () => onpick && onpick(index, false));
        outline.addEventListener("mouseleave", () => onpick && onpick(null, false));
        outline.addEventListener("click", () => onpick && onpick(index, true));
        shapes.append(outline);
        const top = box[1] / picture.height;
        const text = make("span", { class: top < 0.08 ? "gd-label gd-inside" : "gd-label", "data-index": index, style: { left: `${(100 * box[0]) / picture.width}%`, top: `${100 * top}%`, background: color } }, `${label} ${found.scores[index].toFixed(2)}`);
        labels.append(text);
      });
    };
    frame.highlight = (index) => {
      for (const one of [...shapes.children, ...labels.children]) {
        one.classList.toggle("gd-on", index !== null && Number(one.dataset.index) === index);
        one.classList.toggle("gd-off", index !== null && Number(one.dataset.index) !== index);
      }
    };
    return frame;
  };

  const facts = (picture) =>
    `${picture.name} · ${picture.width.toLocaleString("en")} × ${picture.height.toLocaleString("en")} pixels` + (picture.crs ? ` · ${picture.crs}` : "");

  const boxTable = (found, onpick) => {
    const rows = found.boxes.map((box, index) =>
      make("tr", { "data-index": index, onmouseenter: () => onpick(index, false), onmouseleave: () => onpick(null, false) },
        make("td", {}, make("button", { type: "button", class: "gd-pick", "aria-pressed": "false", "aria-label": `Highlight box ${index + 1}, ${found.labels[index]}`, onfocus: () => onpick(index, false), onblur: () => onpick(null, false), onclick: () => onpick(index, true) }, `${index + 1}`)),
        make("td", {}, make("span", { class: "gd-dot", style: { background: colorOf(found.labels[index], found.labels) } }), found.labels[index]),
        make("td", {}, found.scores[index].toFixed(3)),
        make("td", { class: "gd-number" }, box.map(rounded).join(", "))));
    const head = make("tr", {}, ...["Box", "Label", "Score", "x1, y1, x2, y2"].map((text) => make("th", { scope: "col" }, text)));
    return make("div", { class: "gd-scroll", tabindex: "0", role: "region", "aria-label": "Table of boxes" }, make("table", { class: "gd-table" }, make("thead", {}, head), make("tbody", {}, ...rows)));
  };

  const choiceTable = (probabilities) => {
    const rows = Object.entries(probabilities).sort((one, other) => other[1] - one[1]).map(([text, value]) =>
      make("div", { class: "gd-choice" }, make("span", {}, text), make("span", { class: "gd-meter", "aria-hidden": "true" }, make("i", { style: { width: `${100 * value}%` } })), make("span", { class: "gd-number" }, percent(value))));
    return make("div", { class: "gd-choices" }, make("p", { class: "gd-note" }, "Probability of each choice"), ...rows);
  };

  const answerText = (value) => {
    const prediction = value.prediction;
    if (!value.has_boxes) return prediction.text || "(no answer)";
    const count = prediction.boxes.length;
    if (!prediction.parsed && !count) return "The answer was not understood";
    return `${count === 0 ? "No box" : count === 1 ? "One box" : `${count} boxes`} for “${prediction.query}”`;
  };

  const empty = (text) => make("div", { class: "gd-empty" }, make("p", {}, text));

  // An answer about a picture.
  const renderPicture = (root, value, props) => {
    if (!value || !value.picture) {
      root.replaceChildren(empty(props.placeholder));
      return;
    }
    const found = value.prediction || { boxes: [], labels: [], scores: [] };
    let pinned = null;
    let table = null;
    const pick = (index, pin) => {
      if (pin) pinned = pinned === index ? null : index;
      const shown = index === null ? pinned : index;
      frame.highlight(shown);
      if (!table) return;
      for (const row of table.querySelectorAll("tbody tr")) {
        row.classList.toggle("gd-on", Number(row.dataset.index) === shown);
        row.querySelector("button").setAttribute("aria-pressed", String(Number(row.dataset.index) === pinned));
      }
    };
    const frame = stage(value.picture, pick);
    frame.show(found);
    const parts = [];
    if (value.prediction) parts.push(make("p", { class: "gd-answer" }, answerText(value)));
    parts.push(frame);
    const note = facts(value.picture) + (value.seconds !== undefined ? ` · ${value.model} · ${value.seconds.toFixed(2)} s` : "") + (value.num_steps ? ` · ${value.num_steps} steps` : "");
    parts.push(make("p", { class: "gd-note" }, note));
    if (found.boxes.length) {
      const box = make("input", { type: "checkbox", onchange: () => frame.classList.toggle("gd-bare", !box.checked) });
      box.checked = true;
      parts.push(make("label", { class: "gd-switch" }, box, " Labels on the picture"));
      table = boxTable(found, pick);
      parts.push(table);
    }
    if (found.choice_probabilities) parts.push(choiceTable(found.choice_probabilities));
    if (value.prediction) parts.push(fileButtons(value, value.picture.name));
    root.replaceChildren(...parts.filter(Boolean));
  };

  const stepColor = (step, total) => {
    const place = ((VIRIDIS.length - 1) * step) / Math.max(total - 1, 1);
    const low = Math.min(Math.floor(place), VIRIDIS.length - 2);
    return VIRIDIS[low].map((value, index) => Math.round(value + (VIRIDIS[low + 1][index] - value) * (place - low)));
  };
  // Black or white, whichever has the higher contrast (WCAG 2).
  const inkOn = (color) => {
    const [red, green, blue] = color.map((value) => (value <= 10 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000" : "#fff";
  };
  const cellText = (token) => {
    const location = /^<loc_(\d+)>$/.exec(token);
    if (location) return location[1];
    return token === "[EOS]" ? "end" : token.trim() || "·";
  };

  const tokenName = (token) => {
    const location = /^<loc_(\d+)>$/.exec(token);
    if (location) return `location ${location[1]}`;
    return token === "[EOS]" ? "end of the answer" : `“${token.trim() || token}”`;
  };

  // The canvas over the steps.
  const renderFilm = (root, value, props) => {
    if (!value || !value.picture) {
      root.replaceChildren(empty(props.placeholder));
      root.film = null;
      return;
    }
    const steps = value.steps || [];
    const old = root.film;
    if (!old || old.picture !== value.picture.src || old.length > steps.length) {
      clearInterval(root.timer);
      buildFilm(root, value);
    }
    const film = root.film;
    const wasLast = film.at >= film.length;
    film.length = steps.length;
    film.value = value;
    film.slider.max = String(steps.length);
    film.slider.disabled = !steps.length;
    film.play.disabled = !steps.length;
    film.legend();
    film.go(wasLast && !film.playing ? steps.length : film.at);
    film.end();
  };

  const buildFilm = (root, value) => {
    const id = `gd-film-${(numbers += 1)}`;
    const frame = stage(value.picture);
    const grid = make("div", { class: "gd-grid", role: "grid", "aria-label": "Tokens of the canvas" });
    const detail = make("div", { class: "gd-detail", "aria-live": "polite" });
    const caption = make("label", { for: id, class: "gd-step" });
    const slider = make("input", { type: "range", id, min: "0", max: "0", value: "0", step: "1" });
    const legend = make("div", { class: "gd-legend" });
    const ending = make("div", { class: "gd-view" });
    const film = { picture: value.picture.src, value, slider, at: 0, length: 0, playing: false, chosen: null };
    root.film = film;
    const stop = () => {
      clearInterval(root.timer);
      film.playing = false;
      film.play.textContent = "Play";
    };
    film.play = button("Play", () => {
      if (film.playing) return stop();
      film.playing = true;
      film.play.textContent = "Pause";
      film.go(film.at >= film.length ? 0 : film.at);
      root.timer = setInterval(() => {
        if (!root.isConnected || film.at >= film.length) return stop();
        film.go(film.at + 1);
      }, 500);
    });
    slider.addEventListener("input", () => {
      stop();
      film.go(Number(slider.value));
    });
    const tell = (place) => {
      const step = film.value.steps[Math.max(film.at, 1) - 1];
      if (place === null || !step) {
        detail.replaceChildren(make("p", { class: "gd-note" }, "Point at a token, or move through them with the arrow keys, to see how sure the model was and what else it considered."));
        return;
      }
      const commit = film.at ? step.commit_steps[place] : -1;
      const known = commit >= 0;
      const parts = [make("p", {}, make("strong", {}, `Token ${place + 1}: `), known ? `${tokenName(step.tokens[place])}, committed in step ${commit + 1} with confidence ${percent(step.confidences[place])}` : film.at && step.tokens[place] === "[EOS]" ? "after the end of the answer" : "not committed yet")];
      const options = film.at ? (step.alternatives || [])[place] || [] : [];
      if (options.length)
        parts.push(make("div", { class: "gd-choices" }, ...options.map(([text, share]) => make("div", { class: "gd-choice" }, make("span", {}, tokenName(text)), make("span", { class: "gd-meter", "aria-hidden": "true" }, make("i", { style: { width: `${100 * share}%` } })), make("span", { class: "gd-number" }, percent(share))))));
      detail.replaceChildren(...parts);
    };
    const columns = () => (grid.firstChild ? getComputedStyle(grid.firstChild).gridTemplateColumns.split(" ").length : 1);
    grid.addEventListener("keydown", (event) => {
      const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(), ArrowUp: -columns() };
      if (!(event.key in moves)) return;
      event.preventDefault();
      const cells = grid.querySelectorAll(".gd-cell");
      const next = Math.min(Math.max((film.chosen || 0) + moves[event.key], 0), cells.length - 1);
      cells[next].focus();
    });
    film.go = (at) => {
      film.at = Math.min(at, film.length);
      slider.value = String(film.at);
      const steps = film.value.steps || [];
      const step = film.at ? steps[film.at - 1] : null;
      const made = film.value.prediction ? steps.length : "…";
      caption.textContent = `Step ${film.at} of ${made}`;
      slider.setAttribute("aria-valuetext", caption.textContent);
      const length = steps.length ? steps[0].tokens.length : 0;
      const focused = grid.contains(document.activeElement);
      const isBoxes = (film.value.steps || []).some((one) => one.tokens.some((token) => token.startsWith("<loc_")));
      const row = make("div", { role: "row", class: isBoxes ? "gd-row gd-fours" : "gd-row" });
      for (let place = 0; place < length; place += 1) {
        const commit = step ? step.commit_steps[place] : -1;
        const known = commit >= 0;
        const after = step && !known && step.tokens[place] === "[EOS]";
        const color = known ? stepColor(commit, Math.max(steps.length, 2)) : null;
        const guess = step && !known && !after && step.alternatives && step.alternatives[place] && step.alternatives[place][0];
        const text = known ? cellText(step.tokens[place]) : after ? "" : guess ? cellText(guess[0]) : "";
        const said = known ? `${text}, step ${commit + 1}` : after ? "after the end" : "masked";
        const cell = make("div", { role: "gridcell", class: `gd-cell${known ? "" : after ? " gd-after" : " gd-mask"}${step && commit === step.number - 1 ? " gd-new" : ""}`, tabindex: place === (film.chosen || 0) ? "0" : "-1", "aria-label": `Token ${place + 1}: ${said}`, onmouseenter: () => tell(place), onmouseleave: () => tell(film.chosen), onfocus: () => { film.chosen = place; tell(place); } }, text);
        if (color) Object.assign(cell.style, { background: `rgb(${color.join(",")})`, color: inkOn(color) });
        row.append(cell);
      }
      grid.replaceChildren(row);
      if (focused && film.chosen !== null && row.children[film.chosen]) row.children[film.chosen].focus();
      else tell(film.chosen);
      frame.show(step || { boxes: [], labels: [], scores: [] });
    };
    film.legend = () => {
      const steps = (film.value.steps || []).length;
      legend.replaceChildren();
      if (!steps) return;
      const colors = Array.from({ length: Math.min(steps, 64) }, (_, index) => make("i", { style: { background: `rgb(${stepColor(index, Math.max(steps, 2)).join(",")})` } }));
      legend.append(make("span", {}, "first step"), make("span", { class: "gd-scale", "aria-hidden": "true" }, ...colors), make("span", {}, "last step"), make("i", { class: "gd-key gd-mask", "aria-hidden": "true" }), make("span", {}, "masked, with the best guess"));
    };
    film.end = () => {
      const parts = [];
      const now = film.value;
      if (now.prediction) {
        parts.push(make("p", { class: "gd-answer" }, answerText(now)));
        parts.push(make("p", { class: "gd-note" }, `${now.steps.length} steps · ${now.model} · ${now.seconds.toFixed(2)} s`));
        const bar = fileButtons(now, now.picture.name);
        if (now.gif) bar.append(make("a", { class: "gd-button", href: now.gif, download: `${stem(now.picture.name)}.gif` }, "GIF"));
        parts.push(bar);
      }
      ending.replaceChildren(...parts);
    };
    root.replaceChildren(
      make("div", { class: "gd-two" },
        make("div", {}, frame, make("p", { class: "gd-note" }, facts(value.picture))),
        make("div", {}, make("div", { class: "gd-controls" }, film.play, caption, slider), make("p", { class: "gd-note" }, "Move the slider to see the canvas after each step."), grid, legend, detail)),
      ending);
  };

  // What was found in a scene.
  const renderScene = (root, value, props) => {
    if (!value || (!value.map && !value.picture && !value.geojson)) {
      removeMap(root);
      if (value && value.total !== undefined) root.replaceChildren(progress(value));
      else root.replaceChildren(empty(props.placeholder));
      return;
    }
    const key = value.map ? value.map.src : value.picture ? value.picture.src : "none";
    if (!root.map || root.key !== key) buildMap(root, value, key);
    drawScene(root, value);
  };

  const progress = (value) => {
    const share = value.total ? value.done / value.total : 0;
    const text = value.summary ? `${value.total} ${value.total === 1 ? "tile" : "tiles"} in ${value.seconds.toFixed(1)} s` : value.total ? `${value.done} of ${value.total} tiles` : "Reading the scene";
    return make("div", { class: "gd-progress" }, make("div", { role: "progressbar", "aria-label": "Tiles", "aria-valuemin": "0", "aria-valuemax": String(value.total || 1), "aria-valuenow": String(value.done || 0) }, make("i", { style: { width: `${100 * share}%` } })), make("span", {}, text));
  };

  const removeMap = (root) => {
    if (root.watcher) root.watcher.disconnect();
    if (root.map) root.map.remove();
    root.watcher = root.map = null;
  };

  const buildMap = (root, value, key) => {
    removeMap(root);
    root.key = key;
    root.bar = make("div");
    root.holder = make("div", { class: "gd-map", role: "region", "aria-label": "Map of the scene" });
    root.ending = make("div", { class: "gd-view" });
    root.replaceChildren(root.bar, root.holder, root.ending);
    const onEarth = Boolean(value.map || value.geojson);
    const map = L.map(root.holder, { crs: onEarth ? L.CRS.EPSG3857 : L.CRS.Simple, preferCanvas: true, attributionControl: false, minZoom: onEarth ? 0 : -10, maxZoom: onEarth ? 24 : 6, zoomSnap: 0.25 });
    root.map = map;
    root.found = L.layerGroup().addTo(map);
    let bounds = null;
    if (value.map) bounds = L.latLngBounds(value.map.bounds);
    else if (value.picture) bounds = L.latLngBounds([[-value.picture.height, 0], [0, value.picture.width]]);
    if (bounds) {
      L.imageOverlay((value.map || value.picture).src, bounds, { alt: "the scene", className: "gd-overlay" }).addTo(map);
      map.fitBounds(bounds, { animate: false });
    } else map.setView([0, 0], 2);
    if (onEarth) L.control.scale({ imperial: false }).addTo(map);
    // The map is made while its tab may be hidden.
    root.watcher = new ResizeObserver(() => {
      map.invalidateSize();
      if (bounds && !root.fitted && root.holder.clientWidth) {
        map.fitBounds(bounds, { animate: false });
        root.fitted = true;
      }
    });
    root.fitted = false;
    root.watcher.observe(root.holder);
  };

  const drawScene = (root, value) => {
    root.bar.replaceChildren(progress(value));
    root.found.clearLayers();
    root.ending.replaceChildren();
    if (!value.summary) return;
    const labels = Object.values(value.summary.objects || value.summary.answers || {}).flatMap(Object.keys);
    const style = (label) => ({ color: colorOf(label, labels), weight: 2, fillOpacity: value.summary.objects ? 0.1 : 0.25 });
    const tip = (facts) => {
      const box = make("div", {}, make("strong", {}, facts.label), ` ${Number(facts.score).toFixed(2)}`);
      return box;
    };
    // What can be switched on and off.
    const outlines = [];
    if (value.geojson) {
      const layer = L.geoJSON(value.geojson, { style: (feature) => style(feature.properties.label), onEachFeature: (feature, shape) => outlines.push([feature.properties, shape.bindTooltip(tip(feature.properties))]) });
      for (const outline of outlines) outline.push(layer);
      root.found.addLayer(layer);
      if (!value.map && layer.getBounds().isValid()) root.map.fitBounds(layer.getBounds(), { animate: false });
    }
    for (const one of value.pixels || []) {
      const [x1, y1, x2, y2] = one.box;
      const shape = L.rectangle([[-y2, x1], [-y1, x2]], style(one.label)).bindTooltip(tip(one));
      root.found.addLayer(shape);
      outlines.push([one, shape, root.found]);
    }
    const labelCell = (query, label, count) => {
      const dot = make("span", { class: "gd-dot", style: { background: count ? colorOf(label, labels) : "transparent" } });
      if (!count) return make("td", {}, dot, label);
      const box = make("input", { type: "checkbox", onchange: () => {
        for (const [facts, shape, parent] of outlines)
          if (facts.label === label && (facts.query || "") === query) parent[box.checked ? "addLayer" : "removeLayer"](shape);
      } });
      box.checked = true;
      return make("td", {}, make("label", { class: "gd-switch", title: "Show on the map" }, box, dot, label));
    };
    const rows = Object.entries(value.summary.objects || value.summary.answers).flatMap(([query, counts]) =>
      (Object.keys(counts).length ? Object.entries(counts) : [["nothing found", 0]]).map(([label, count]) => make("tr", {}, make("td", {}, query || "–"), labelCell(query, label, count), make("td", { class: "gd-number" }, String(count)))));
    const head = make("tr", {}, ...["Query", value.summary.objects ? "Object" : "Answer", "Count"].map((text) => make("th", { scope: "col" }, text)));
    const tiles = Object.entries(value.summary.tiles).map(([status, count]) => `${count} ${status}`).join(", ");
    root.ending.replaceChildren(
      make("table", { class: "gd-table" }, make("thead", {}, head), make("tbody", {}, ...rows)),
      make("p", { class: "gd-note" }, `Tiles: ${tiles}${value.summary.unparsed ? `; ${value.summary.unparsed} answers not understood` : ""}`),
      fileButtons(value, value.name || "scene") || "");
  };

  const views = { picture: renderPicture, film: renderFilm, scene: renderScene };

  // Called when a view is put on the page. A document with `keep` changes only the line that says what happens.
  const mount = (kind, element, props, watch) => {
    const root = make("div", { class: "gd-view" });
    const status = make("p", { class: "gd-status", role: "status" });
    element.replaceChildren(status, root);
    const render = () => {
      if (!element.contains(root)) element.replaceChildren(status, root);
      const value = props.value;
      const said = (value && value.status) || "";
      if (status.textContent !== said) status.textContent = said;
      if (!value || !value.keep) views[kind](root, value, props);
    };
    watch("value", render);
    render();
  };

  // A picture in the clipboard goes to the file field of the tab that is open.
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files || [])].filter((file) => file.type.startsWith("image/"));
    const field = [...document.querySelectorAll(".gd-file input[type=file]")].find((input) => input.closest(".gd-file").getClientRects().length);
    if (!files.length || !field) return;
    const given = new DataTransfer();
    given.items.add(files[0]);
    field.files = given.files;
    field.dispatchEvent(new Event("change", { bubbles: true }));
    event.preventDefault();
  });

  return { mount };
})();
