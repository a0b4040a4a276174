// Makes the key in the browser, logs in without reloading, and draws the QR code. The private key stays in this file's
// variables: it is never stored and never sent. Without this script the page works too, with a key made elsewhere.
"use strict";
(function () {
  const byId = (id) => document.getElementById(id);
  const API = "/enrol/api/v1/login";
  const PLACE = "PASTE-YOUR-PRIVATE-KEY-HERE";
  let pair = null;
  let since = 0;
  let ticking = 0;

  function show(part) {
    for (const id of ["form", "waiting", "challenge", "accepted"]) byId(id).hidden = id !== part;
    clearInterval(ticking);
    if (part === "waiting") {
      const tick = () => { byId("elapsed").textContent = String(Math.floor((Date.now() - since) / 1000)); };
      tick();
      ticking = setInterval(tick, 1000);
    }
    if (part === "challenge") byId("code").focus();
  }

  function fail(message) {
    byId("error").textContent = message;
    byId("error").hidden = false;
    byId("password").value = "";
    show("form");
    byId("error").scrollIntoView({ block: "nearest" });
  }

  // --- the key ---

  function base64(octets) {
    return btoa(String.fromCharCode(...octets));
  }

  async function makeKey() {
    const made = await crypto.subtle.generateKey({ name: "X25519" }, true, ["deriveBits"]);
    const open = new Uint8Array(await crypto.subtle.exportKey("raw", made.publicKey));
    // PKCS #8 ends with the 32 octets of the key (RFC 8410 §7).
    const secret = new Uint8Array(await crypto.subtle.exportKey("pkcs8", made.privateKey)).slice(-32);
    return { open: base64(open), secret: base64(secret) };
  }

  function wantsNew() {
    return !byId("key-choice").hidden && byId("key-new").checked;
  }

  function keyField() {
    const own = !wantsNew();
    byId("key-field").hidden = !own;
    byId("public-key").required = own;
    byId("public-key").disabled = !own;
  }

  async function offerKey() {
    try {
      pair = await makeKey();
      byId("key-choice").hidden = false;
      if (byId("public-key").value) byId("key-own").checked = true;
      byId("key-choice").addEventListener("change", keyField);
      keyField();
    } catch (error) {
      byId("no-key").hidden = false;
    }
  }

  // --- the log-in ---

  const pause = (ms) => new Promise((done) => setTimeout(done, ms));

  async function ask(url, body) {
    const options = { cache: "no-store", credentials: "omit", redirect: "error" };
    if (body) {
      options.method = "POST";
      options.headers = { "Content-Type": "application/json" };
      options.body = JSON.stringify(body);
    }
    const response = await fetch(url, options);
    return response.json();
  }

  // Asks until the log-in is decided or a code is wanted. A question that breaks off is asked again: that repeats nothing.
  async function follow(login, secret) {
    let failures = 0;
    for (;;) {
      let answer = null;
      try {
        answer = await ask(API + "/" + login + "?wait=15");
        failures = 0;
      } catch (error) {
        failures += 1;
        if (failures > 20) return fail("The gateway cannot be reached. Check your network and log in again.");
        await pause(2000);
        continue;
      }
      if (answer.error) return fail(answer.error.message);
      if (answer.state === "refused") return fail(answer.message);
      if (answer.state === "accepted") return accepted(answer, secret);
      if (answer.state === "challenge") {
        byId("challenge-text").textContent = answer.message;
        byId("code").value = "";
        byId("code-form").onsubmit = (event) => { event.preventDefault(); code(login, secret); };
        return show("challenge");
      }
    }
  }

  async function code(login, secret) {
    show("waiting");
    try {
      const answer = await ask(API + "/" + login + "/answer", { code: byId("code").value });
      if (answer.error) return fail(answer.error.message);
    } catch (error) {
      show("challenge");
      return;
    }
    follow(login, secret);
  }

  async function logIn() {
    const own = !wantsNew();
    byId("error").hidden = true;
    // A key of one's own is known here in its public half only.
    const secret = own ? null : pair.secret;
    const wish = {
      user: byId("user").value,
      password: byId("password").value,
      device: byId("device").value,
      public_key: own ? byId("public-key").value.trim() : pair.open,
    };
    since = Date.now();
    show("waiting");
    try {
      const answer = await ask(API, wish);
      if (answer.error) return fail(answer.error.message);
      byId("password").value = "";
      follow(answer.login, secret);
    } catch (error) {
      fail("The gateway cannot be reached. Check your network and log in again.");
    }
  }

  function accepted(answer, secret) {
    let text = answer.profile;
    if (secret) {
      text = text.replace(PLACE, secret);
      byId("by-hand").hidden = true;
      byId("text-part").open = false;
      const cells = qr(new TextEncoder().encode(text));
      if (cells) {
        byId("qr").replaceChildren(picture(cells));
        byId("qr-part").hidden = false;
      }
    }
    byId("address").textContent = answer.address;
    if (answer.expires) {
      byId("expires").textContent = "Log in again before " + new Date(answer.expires).toLocaleString() + ".";
    }
    byId("profile").textContent = text;
    byId("download").href = URL.createObjectURL(new Blob([text], { type: "application/octet-stream" }));
    show("accepted");
  }

  // --- the QR code (ISO/IEC 18004): octet mode, error correction level L, versions 1 to 25 ---

  const CHECKS = [0, 7, 10, 15, 20, 26, 18, 20, 24, 30, 18, 20, 24, 26, 30, 22, 24, 28, 30, 28, 28, 28, 28, 30, 30, 26];
  const BLOCKS = [0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 4, 6, 6, 6, 6, 7, 8, 8, 9, 9, 10, 12];

  // The modules of a version that are left for data.
  function room(version) {
    let modules = (16 * version + 128) * version + 64;
    if (version >= 2) {
      const marks = Math.floor(version / 7) + 2;
      modules -= (25 * marks - 10) * marks - 55;
      if (version >= 7) modules -= 36;
    }
    return Math.floor(modules / 8);
  }

  // Multiplies in GF(2^8) modulo x^8 + x^4 + x^3 + x^2 + 1.
  function times(a, b) {
    let product = 0;
    for (let bit = 7; bit >= 0; bit -= 1) {
      product = (product << 1) ^ ((product >> 7) * 0x11d);
      product ^= ((b >> bit) & 1) * a;
    }
    return product;
  }

  // The coefficients of (x - 1)(x - 2)(x - 4)… without the leading one.
  function generator(degree) {
    const result = new Array(degree).fill(0);
    result[degree - 1] = 1;
    let root = 1;
    for (let i = 0; i < degree; i += 1) {
      for (let j = 0; j < degree; j += 1) {
        result[j] = times(result[j], root);
        if (j + 1 < degree) result[j] ^= result[j + 1];
      }
      root = times(root, 2);
    }
    return result;
  }

  function remainder(data, divisor) {
    const result = new Array(divisor.length).fill(0);
    for (const octet of data) {
      const factor = octet ^ result.shift();
      result.push(0);
      divisor.forEach((coefficient, i) => { result[i] ^= times(coefficient, factor); });
    }
    return result;
  }

  // Cuts the data into blocks, adds check octets to each, and interleaves them.
  function interleaved(data, version) {
    const blocks = BLOCKS[version];
    const checks = CHECKS[version];
    const total = room(version);
    const long = total % blocks;
    const length = Math.floor(total / blocks) - checks;
    const divisor = generator(checks);
    const parts = [];
    let at = 0;
    for (let i = 0; i < blocks; i += 1) {
      const end = at + length + (i >= blocks - long ? 1 : 0);
      const part = data.slice(at, end);
      parts.push({ part, check: remainder(part, divisor) });
      at = end;
    }
    const out = [];
    for (let i = 0; i <= length; i += 1) for (const { part } of parts) if (i < part.length) out.push(part[i]);
    for (let i = 0; i < checks; i += 1) for (const { check } of parts) out.push(check[i]);
    return out;
  }

  function octets(text, version) {
    const bits = [];
    const put = (value, width) => { for (let i = width - 1; i >= 0; i -= 1) bits.push((value >> i) & 1); };
    put(4, 4);
    put(text.length, version < 10 ? 8 : 16);
    text.forEach((octet) => put(octet, 8));
    const capacity = 8 * (room(version) - BLOCKS[version] * CHECKS[version]);
    if (bits.length > capacity) return null;
    put(0, Math.min(4, capacity - bits.length));
    put(0, (8 - (bits.length % 8)) % 8);
    for (let pad = 0xec; bits.length < capacity; pad ^= 0xfd) put(pad, 8);
    const out = [];
    for (let i = 0; i < bits.length; i += 8) out.push(parseInt(bits.slice(i, i + 8).join(""), 2));
    return out;
  }

  const MASKS = [
    (x, y) => (x + y) % 2, (x, y) => y % 2, (x) => x % 3, (x, y) => (x + y) % 3,
    (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2, (x, y) => ((x * y) % 2) + ((x * y) % 3),
    (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2, (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2,
  ];

  // Adds the check bits of a BCH code to a value.
  function bch(value, polynomial, width) {
    let rest = value;
    for (let i = 0; i < width; i += 1) rest = (rest << 1) ^ ((rest >> (width - 1)) * polynomial);
    return (value << width) | rest;
  }

  // Returns rows of true (dark) and false, or null when the text is too long.
  function qr(text) {
    let version = 1;
    let data = null;
    while (version <= 25 && !(data = octets(text, version))) version += 1;
    if (!data) return null;
    const size = 17 + 4 * version;
    const cells = Array.from({ length: size }, () => new Array(size).fill(false));
    const fixed = Array.from({ length: size }, () => new Array(size).fill(false));
    const set = (x, y, dark) => { cells[y][x] = Boolean(dark); fixed[y][x] = true; };

    for (let i = 0; i < size; i += 1) { set(6, i, i % 2 === 0); set(i, 6, i % 2 === 0); }
    for (const [cx, cy] of [[3, 3], [size - 4, 3], [3, size - 4]]) {
      for (let dy = -4; dy <= 4; dy += 1) for (let dx = -4; dx <= 4; dx += 1) {
        const far = Math.max(Math.abs(dx), Math.abs(dy));
        const [x, y] = [cx + dx, cy + dy];
        if (x >= 0 && x < size && y >= 0 && y < size) set(x, y, far !== 2 && far !== 4);
      }
    }
    const marks = [];
    if (version > 1) {
      const count = Math.floor(version / 7) + 2;
      const step = Math.ceil((version * 4 + 4) / (count * 2 - 2)) * 2;
      for (let i = 0, at = size - 7; i < count - 1; i += 1, at -= step) marks.unshift(at);
      marks.unshift(6);
    }
    marks.forEach((cx, i) => marks.forEach((cy, j) => {
      const last = marks.length - 1;
      if ((i === 0 && j === 0) || (i === 0 && j === last) || (i === last && j === 0)) return;
      for (let dy = -2; dy <= 2; dy += 1) for (let dx = -2; dx <= 2; dx += 1) {
        set(cx + dx, cy + dy, Math.max(Math.abs(dx), Math.abs(dy)) !== 1);
      }
    }));
    if (version >= 7) {
      const bits = bch(version, 0x1f25, 12);
      for (let i = 0; i < 18; i += 1) {
        const [a, b] = [size - 11 + (i % 3), Math.floor(i / 3)];
        set(a, b, (bits >> i) & 1);
        set(b, a, (bits >> i) & 1);
      }
    }
    const format = (mask) => {
      // Level L is 01.
      const bits = bch((1 << 3) | mask, 0x537, 10) ^ 0x5412;
      const bit = (i) => (bits >> i) & 1;
      for (let i = 0; i <= 5; i += 1) set(8, i, bit(i));
      set(8, 7, bit(6)); set(8, 8, bit(7)); set(7, 8, bit(8));
      for (let i = 9; i < 15; i += 1) set(14 - i, 8, bit(i));
      for (let i = 0; i < 8; i += 1) set(size - 1 - i, 8, bit(i));
      for (let i = 8; i < 15; i += 1) set(8, size - 15 + i, bit(i));
      set(8, size - 8, true);
    };
    format(0);

    const all = interleaved(data, version);
    let at = 0;
    for (let right = size - 1; right >= 1; right -= 2) {
      if (right === 6) right = 5;
      for (let row = 0; row < size; row += 1) for (let j = 0; j < 2; j += 1) {
        const x = right - j;
        const y = ((right + 1) & 2) === 0 ? size - 1 - row : row;
        if (!fixed[y][x] && at < all.length * 8) {
          cells[y][x] = ((all[at >> 3] >> (7 - (at & 7))) & 1) === 1;
          at += 1;
        }
      }
    }
    const flip = (mask) => {
      for (let y = 0; y < size; y += 1) for (let x = 0; x < size; x += 1) {
        if (!fixed[y][x] && MASKS[mask](x, y) === 0) cells[y][x] = !cells[y][x];
      }
    };
    let best = 0;
    let least = Infinity;
    for (let mask = 0; mask < 8; mask += 1) {
      flip(mask);
      format(mask);
      const cost = penalty(cells);
      if (cost < least) { least = cost; best = mask; }
      flip(mask);
    }
    flip(best);
    format(best);
    return cells;
  }

  // How hard it is to read: long runs, blocks, what looks like a corner, and too much of one colour.
  function penalty(cells) {
    const size = cells.length;
    let cost = 0;
    let dark = 0;
    const line = (cell) => {
      let run = 0;
      let bits = 0;
      for (let i = 0; i < size; i += 1) {
        run = i > 0 && cell(i) === cell(i - 1) ? run + 1 : 1;
        if (run === 5) cost += 3; else if (run > 5) cost += 1;
        bits = ((bits << 1) | (cell(i) ? 1 : 0)) & 0x7ff;
        if (i >= 10 && (bits === 0x05d || bits === 0x5d0)) cost += 40;
      }
    };
    for (let i = 0; i < size; i += 1) {
      line((j) => cells[i][j]);
      line((j) => cells[j][i]);
      for (let j = 0; j < size; j += 1) {
        dark += cells[i][j] ? 1 : 0;
        if (i > 0 && j > 0) {
          const same = cells[i][j] === cells[i - 1][j] && cells[i][j] === cells[i][j - 1] && cells[i][j] === cells[i - 1][j - 1];
          cost += same ? 3 : 0;
        }
      }
    }
    return cost + 10 * Math.floor(Math.abs(dark * 20 - size * size * 10) / (size * size));
  }

  function picture(cells) {
    const name = "http:" + "//www.w3.org/2000/svg";
    const edge = cells.length + 8;
    const svg = document.createElementNS(name, "svg");
    svg.setAttribute("viewBox", "0 0 " + edge + " " + edge);
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", "QR code with the configuration of this device");
    svg.setAttribute("shape-rendering", "crispEdges");
    const path = document.createElementNS(name, "path");
    let d = "";
    cells.forEach((row, y) => row.forEach((dark, x) => { if (dark) d += "M" + (x + 4) + " " + (y + 4) + "h1v1h-1z"; }));
    path.setAttribute("d", d);
    path.setAttribute("fill", "#000");
    svg.append(path);
    return svg;
  }

  // For the tests, which have no page.
  if (typeof document === "undefined") { globalThis.qr = qr; return; }

  byId("login-form").addEventListener("submit", (event) => { event.preventDefault(); logIn(); });
  if (!byId("form").hidden) offerKey();
})();
