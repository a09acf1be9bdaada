"use strict";
(() => {
  const TOKEN = "gateway-admin-token";
  // Snapshots come every second. Without one for so long, what is shown is old.
  const STALE_AFTER = 3500, GIVE_UP_AFTER = 10000, LONGEST_PAUSE = 10000;
  // Of a service with more backends those are shown that are not well, and so many others, until somebody wants all.
  const FEW = 12;
  const $ = (id) => document.getElementById(id);
  const part = (node, name) => node.querySelector(`[data-is="${name}"]`);
  // Whatever comes from the gateway is text, and only written where it differs, so that selections and clicks survive.
  const say = (node, text) => { if (node.textContent !== text) node.textContent = text; };
  const paint = (node, kind, text) => { say(node, text); if (node.className !== kind) node.className = kind; };

  let token = sessionStorage.getItem(TOKEN) || "";
  let latest = null, heardAt = 0, pause = 500, attempt = null, retry = 0, epoch = 0;
  let step = 5000, kept = 120, steppedAt = 0;
  const series = new Map(), whole = new Set();

  // Words and numbers.
  const rate = (value) => value == null ? "–" : value === 0 ? "0" : value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString("en");
  const millis = (value) => value == null ? "–" : value >= 10000 ? "≥ 10 s" : value >= 1000 ? `${(value / 1000).toFixed(1)} s`
    : value < 1 ? "< 1 ms" : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
  const span = (seconds) => seconds < 120 ? `${seconds} s` : seconds < 7200 ? `${Math.floor(seconds / 60)} min`
    : seconds < 172800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} d`;
  const clock = (at) => new Date(at).toLocaleTimeString([], { hour12: false });
  const tone = { up: "good", down: "bad", degraded: "warn", draining: "warn", closed: "good", open: "bad", half_open: "warn" };
  const badge = (node, word, text = word.replace("_", " ")) => paint(node, `badge ${tone[word] || ""}`.trim(), text);

  // One node for each item, kept as long as there is the item.
  const sync = (parent, template, items, key, fill) => {
    const known = new Map([...parent.children].map((node) => [node.dataset.key, node]));
    items.forEach((item, place) => {
      const name = key(item, place);
      let node = known.get(name);
      known.delete(name);
      if (!node) {
        node = $(template).content.firstElementChild.cloneNode(true);
        node.dataset.key = name;
        // What several have in common is a template of its own.
        for (const place of node.querySelectorAll("[data-with]")) place.replaceWith($(place.dataset.with).content.cloneNode(true));
      }
      if (parent.children[place] !== node) parent.insertBefore(node, parent.children[place] || null);
      fill(node, item);
    });
    known.forEach((node) => node.remove());
  };

  // The last ten minutes: what the gateway kept, and then a point every few seconds.
  const points = (name, what) => {
    const all = series.get(name) || series.set(name, {}).get(name);
    return all[what] || (all[what] = []);
  };
  const remember = (past) => {
    if (!past) return;
    [step, kept, steppedAt] = [past.step_seconds * 1000, past.points, Date.now()];
    series.clear();
    for (const [name, { reasons, ...lines }] of Object.entries(past.services)) series.set(name, { ...lines, ...reasons });
    for (const [name, { reasons, ...lines }] of Object.entries(past.routes)) series.set(ofRoute(name), { ...lines, ...reasons });
    for (const [name, lines] of Object.entries(past.backends)) series.set(name, lines);
  };
  const reasonsOf = (name) => Object.keys(series.get(name) || {}).filter((what) => !["rate", "failed", "p50", "p99"].includes(what));
  const add = (name, what, value) => {
    const all = points(name, what);
    all.push(value ?? null);
    if (all.length > kept) all.shift();
  };
  const nameOf = (service, backend) => `${service.name} ${backend.protocol} ${backend.url}`;
  const ofRoute = (name) => `route ${name}`;
  const standing = (backend) => ({ open: 2, half_open: 1 }[backend.circuit_breaker] ?? (backend.state === "down" ? 3 : 0));
  const advance = (snapshot) => {
    if (Date.now() - steppedAt < step) return;
    steppedAt = Date.now();
    const follow = (name, of) => {
      for (const [what, value] of [["rate", of.requests_per_second], ["failed", of.failed_per_second],
        ["p50", of.p50_ms], ["p99", of.p99_ms]]) add(name, what, value);
      const now = of.refused_by_reason || {};
      for (const reason of new Set([...reasonsOf(name), ...Object.keys(now)])) add(name, reason, now[reason] || 0);
    };
    for (const route of snapshot.routes) follow(ofRoute(route.name), route);
    for (const service of snapshot.services) {
      follow(service.name, service);
      for (const backend of service.backends) {
        add(nameOf(service, backend), "rate", backend.requests_per_second);
        add(nameOf(service, backend), "state", standing(backend));
      }
    }
  };
  const highest = (...all) => Math.max(0, ...all.flat().filter((value) => value != null));
  const line = (node, all, top, height) => {
    let text = "", pen = "M";
    const left = kept - all.length, bottom = height - 1;
    all.forEach((value, place) => {
      if (value == null) { pen = "M"; return; }
      text += `${pen}${left + place} ${(bottom - (bottom - 2) * value / (top || 1)).toFixed(1)}`;
      pen = "L";
    });
    if (node.getAttribute("d") !== text) node.setAttribute("d", text);
  };
  const band = (node, all, state, height) => {
    const left = kept - all.length;
    const text = all.map((value, place) => value === state ? `M${left + place} ${height - 4}h1v4h-1z` : "").join("");
    if (node.getAttribute("d") !== text) node.setAttribute("d", text);
  };

  const numbers = (root, of) => {
    for (const [name, text, bad] of [
      ["requests", rate(of.requests_per_second), false],
      ["failed", rate(of.failed_per_second), of.failed_per_second > 0],
      ["refused", rate(of.refused_per_second), false],
      ["retried", rate(of.retried_per_second), false],
      ["p50", millis(of.p50_ms), false],
      ["p99", millis(of.p99_ms), false],
    ]) {
      const node = part(root, name);
      if (!node) continue;
      say(node, text);
      node.closest("div").classList.toggle("bad", bad);
    }
  };

  const host = (url) => url.slice(url.indexOf("//") + 2);
  const address = (backend) => host(backend.url);
  const showBackend = (service) => (node, backend) => {
    const standing = backend.standing;
    node.className = `backend ${backend.state}`;
    say(part(node, "address"), address(backend));
    say(part(node, "protocol"), backend.protocol === "grpc" ? "gRPC" : "HTTP");
    badge(part(node, "state"), backend.state === "up" && standing === "failed_lately" ? "failed_lately" : backend.state);
    const breaker = backend.circuit_breaker;
    badge(part(node, "breaker"), breaker || "", breaker && breaker !== "closed" ? `breaker ${breaker.replace("_", " ")}` : "");
    badge(part(node, "draining"), "draining", backend.draining ? "drained" : standing === "out" || standing === "reserve" ? "out of rotation" : "");
    const facts = [`${rate(backend.requests_per_second)} req/s`, `${backend.active_requests} in flight`];
    // Of one that fails the average says nothing: failures count as slow ones.
    if (backend.state !== "down" && backend.latency_ms > 0) facts.push(`${millis(backend.latency_ms)} lately`);
    if (backend.weight !== 1) facts.push(`weight ${backend.weight}`);
    if (backend.warmed_up < 1) facts.push(`warming up, ${Math.round(backend.warmed_up * 100)} %`);
    if (backend.tried_again_in_seconds != null) facts.push(`tried again in ${backend.tried_again_in_seconds} s`);
    else if (backend.failures_in_a_row) facts.push(`${backend.failures_in_a_row} failures in a row`);
    say(part(node, "facts"), facts.join(" · "));
    const rates = points(nameOf({ name: service }, backend), "rate"), states = points(nameOf({ name: service }, backend), "state");
    line(part(node, "line"), rates, highest(rates), 16);
    [[1, "trial"], [2, "open"], [3, "gone"]].forEach(([state, name]) => band(part(node, name), states, state, 20));
    say(part(node, "error"), backend.error || "");
    const drain = part(node, "drain"), reset = part(node, "reset");
    say(drain, backend.draining ? "Undrain" : "Drain");
    drain.onclick = () => drainOrNot(service, backend);
    reset.hidden = !breaker || breaker === "closed";
    reset.onclick = () => resetBreaker(service, backend);
  };

  const plot = (node, name) => {
    const [rates, failed, p50, p99] = ["rate", "failed", "p50", "p99"].map((what) => points(name, what));
    const top = highest(rates, failed), slowest = highest(p50, p99);
    line(part(node, "rate-line"), rates, top, 40);
    line(part(node, "failed-line"), failed, top, 40);
    line(part(node, "p50-line"), p50, slowest, 40);
    line(part(node, "p99-line"), p99, slowest, 40);
    say(part(node, "rate-top"), top ? `up to ${rate(top)}` : "");
    say(part(node, "time-top"), slowest ? `up to ${millis(slowest)}` : "");
    const causes = reasonsOf(name).map((reason) => [reason, points(name, reason)]).filter(([, all]) => highest(all) > 0);
    sync(part(node, "causes"), "a-cause", causes, ([reason]) => reason, (item, [reason, all]) => {
      say(part(item, "reason"), reason.replaceAll("_", " "));
      say(part(item, "now"), `${rate(all[all.length - 1])}/s`);
      line(part(item, "line"), all, highest(all), 20);
    });
  };

  const showRoute = (node, route) => {
    say(part(node, "name"), route.name);
    say(part(node, "routes"), `${route.pattern} · ${route.services.join(", ")}`);
    numbers(node, route);
    plot(node, ofRoute(route.name));
  };

  const showService = (node, service) => {
    say(part(node, "name"), service.name);
    badge(part(node, "status"), service.status);
    node.classList.toggle("off", !service.enabled);
    say(part(node, "routes"), `${service.strategy.replaceAll("_", " ")} · ${service.routes.join(" ")}`);
    numbers(node, service);
    plot(node, service.name);
    const few = !whole.has(service.name) && service.backends.length > FEW;
    const well = (one) => one.state === "up" && standing(one) === 0;
    const shown = few ? [...service.backends.filter((one) => !well(one)), ...service.backends.filter(well)].slice(0, FEW) : service.backends;
    sync(part(node, "backends"), "a-backend", shown, (one) => `${one.protocol} ${one.url}`, showBackend(service.name));
    const more = part(node, "more");
    more.hidden = !few;
    say(more, `All ${service.backends.length} backends`);
    more.onclick = () => { whole.add(service.name); show(latest); };
  };

  // What has the words in its name: a service by its own or a route's, or else its backends by theirs.
  const filtered = (services) => {
    const words = $("filter").value.trim().toLowerCase();
    if (!words) return services;
    const has = (text) => text.toLowerCase().includes(words);
    return services.flatMap((service) => {
      if (has(service.name) || service.routes.some(has)) return [service];
      const backends = service.backends.filter((one) => has(one.url));
      return backends.length ? [{ ...service, backends }] : [];
    });
  };

  const show = (snapshot) => {
    latest = snapshot;
    $("login").hidden = true;
    $("main").hidden = false;
    $("status").hidden = false;
    $("forget").hidden = !token;
    badge($("status"), snapshot.status);
    document.title = snapshot.status === "up" ? "Gateway" : `Gateway: ${snapshot.status}`;
    const tiles = $("tiles");
    numbers(tiles, snapshot);
    say(part(tiles, "active"), String(snapshot.active_requests));
    say(part(tiles, "connections"), String(snapshot.client_connections));
    say(part(tiles, "uptime"), span(snapshot.uptime_seconds));
    const over = snapshot.window_seconds ? `Rates and durations of the last ${snapshot.window_seconds} s. ` : "";
    say($("about"), `${over}Version ${snapshot.version}, settings ${snapshot.revision}, ${snapshot.workers} workers.`);
    advance(snapshot);
    const services = filtered(snapshot.services);
    $("nothing").hidden = services.length > 0;
    sync($("services"), "a-service", services, (one) => one.name, showService);
    const words = $("filter").value.trim().toLowerCase();
    const routes = snapshot.routes.filter((one) => [one.name, one.pattern, ...one.services].some((text) => text.toLowerCase().includes(words)));
    $("routes-part").hidden = routes.length === 0;
    sync($("routes"), "a-route", routes, (one) => one.name, showRoute);
    const reasons = Object.entries(snapshot.refused_by_reason);
    say($("reasons"), reasons.map(([reason, value]) => `${reason} ${rate(value)}/s`).join(" · "));
    $("none").hidden = snapshot.refusals.length > 0;
    sync($("refusals"), "a-refusal", snapshot.refusals, (_, place) => String(place), (node, one) => {
      for (const name of ["reason", "service", "route"]) say(part(node, name), one[name]);
      say(part(node, "time"), clock(one.at));
      say(part(node, "status"), String(one.status));
      say(part(node, "backend"), one.backend ? host(one.backend) : "");
    });
  };

  // Changes, each in the state that was on the screen when it was asked for.
  const notice = (text) => { $("notice").hidden = !text; say($("notice"), text || ""); };
  const ask = (question, consequence, verb) => new Promise((answer) => {
    say($("question"), question);
    say($("consequence"), consequence);
    say($("yes"), verb);
    const dialog = $("ask");
    dialog.returnValue = "no";
    dialog.onclose = () => answer(dialog.returnValue === "yes");
    dialog.showModal();
  });
  const headers = (more) => ({ ...(token ? { authorization: `Bearer ${token}` } : {}), ...more });
  const change = async (method, path, body, tag) => {
    notice("");
    try {
      const answer = await fetch(path, {
        method, headers: headers({ "if-match": tag, ...(body ? { "content-type": "application/json" } : {}) }),
        body: body && JSON.stringify(body), credentials: "same-origin", redirect: "error",
      });
      if (answer.ok) return;
      const problem = await answer.json().catch(() => ({}));
      notice(answer.status === 412 ? "Settings were changed meanwhile, so nothing was done. Look again, then repeat it."
        : `Not done: ${problem.detail || answer.status}`);
    } catch (error) {
      notice(`It is not known whether that was done: ${error.message}`);
    }
  };
  const drainOrNot = async (service, backend) => {
    const tag = latest.etag, draining = !backend.draining;
    const yes = await ask(`${draining ? "Drain" : "Undrain"} ${address(backend)} of ${service}?`,
      draining ? "It gets no new requests; those it has come to their end." : "It gets requests again.", draining ? "Drain" : "Undrain");
    const path = `services/${encodeURIComponent(service)}/backends/${encodeURIComponent(address(backend))}?protocol=${backend.protocol}`;
    if (yes) await change("PUT", path, { draining }, tag);
  };
  const resetBreaker = async (service, backend) => {
    const tag = latest.etag;
    const yes = await ask(`Reset the circuit breaker of ${address(backend)} of ${service}?`,
      "It closes, and the backend gets its share of requests at once.", "Reset");
    const query = new URLSearchParams({ backend: address(backend), protocol: backend.protocol });
    if (yes) await change("POST", `circuitbreaker/${encodeURIComponent(service)}/reset?${query}`, null, tag);
  };

  // The connection. EventSource could not show a token, so the stream is read by hand.
  const link = (state, text) => { document.body.dataset.link = state; say($("link"), text); };
  const login = (why) => {
    notice(why);
    token = "";
    sessionStorage.removeItem(TOKEN);
    for (const id of ["main", "status", "forget"]) $(id).hidden = true;
    $("login").hidden = false;
    $("token").focus();
    link("locked", "token wanted");
  };
  const listen = async () => {
    clearTimeout(retry);
    const mine = ++epoch;
    if (attempt) attempt.abort();
    attempt = new AbortController();
    heardAt = Date.now();
    try {
      const answer = await fetch("events", {
        headers: headers({ accept: "text/event-stream" }), cache: "no-store", credentials: "same-origin", signal: attempt.signal,
      });
      if (mine !== epoch) return;
      if (answer.status === 401) return login(token ? "That is not the token." : "");
      if (!answer.ok) {
        const problem = await answer.json().catch(() => ({}));
        throw new Error(problem.detail || `the gateway answered ${answer.status}`);
      }
      if (token) sessionStorage.setItem(TOKEN, token);
      await read(answer.body.getReader(), mine);
      throw new Error("the connection ended");
    } catch (error) {
      if (mine !== epoch) return;
      link("stale", `${latest ? `stale since ${clock(latest.at)}` : "not connected"}: ${error.message}; trying again`);
      retry = setTimeout(listen, pause);
      pause = Math.min(pause * 2, LONGEST_PAUSE);
    }
  };
  const read = async (reader, mine) => {
    const decoder = new TextDecoder();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done || mine !== epoch) return;
      const events = (rest + decoder.decode(value, { stream: true })).split("\n\n");
      rest = events.pop();
      const said = events.map((event) => event.split("\n")).map((lines) => ({
        kind: lines.find((line) => line.startsWith("event: ")), data: lines.find((line) => line.startsWith("data: ")),
      })).filter((event) => event.data);
      if (said.length === 0) continue;
      heardAt = Date.now();
      pause = 500;
      said.filter((event) => event.kind).forEach((event) => remember(JSON.parse(event.data.slice(6))));
      const snapshots = said.filter((event) => !event.kind);
      if (snapshots.length > 0) show(JSON.parse(snapshots[snapshots.length - 1].data.slice(6)));
      link("live", "live");
    }
  };
  setInterval(() => {
    if (document.body.dataset.link === "locked") return;
    const silent = Date.now() - heardAt;
    if (document.body.dataset.link === "live" && silent > STALE_AFTER) link("stale", `stale since ${clock(latest.at)}`);
    if (silent > GIVE_UP_AFTER) listen();
  }, 500);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && document.body.dataset.link === "stale") listen();
  });
  addEventListener("online", () => { if (document.body.dataset.link === "stale") listen(); });
  $("filter").addEventListener("input", () => { if (latest) show(latest); });
  $("login").addEventListener("submit", (event) => {
    event.preventDefault();
    token = $("token").value.trim();
    $("token").value = "";
    notice("");
    link("connecting", "connecting…");
    listen();
  });
  $("forget").addEventListener("click", () => { ++epoch; if (attempt) attempt.abort(); latest = null; login(""); });
  listen();
})();
