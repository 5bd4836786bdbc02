"use strict";
(function () {
  // Asks for the state, shows it when it has changed, and the last report below it.
  var every = 1000 * parseFloat(document.body.getAttribute("data-every"));
  var live = document.getElementById("live"), link = document.getElementById("link");
  var frame = document.getElementById("report"), name = document.title, tag = "", version = "";
  function fit() {
    var inner = frame.contentDocument && frame.contentDocument.documentElement;
    if (inner) frame.style.height = inner.scrollHeight + "px";
  }
  frame.addEventListener("load", function () {
    fit();
    if (frame.contentDocument) new ResizeObserver(fit).observe(frame.contentDocument.body);
  });
  function show(html) {
    live.innerHTML = html;
    seen();
  }
  function seen() {
    var bar = live.querySelector("progress"), known = document.getElementById("known");
    if (bar) document.title = bar.value + "/" + bar.max + " " + name;
    var now = known ? known.getAttribute("data-version") : "";
    if (now && now !== version) {
      version = now;
      frame.hidden = false;
      frame.src = "report.html?" + now;
    }
  }
  function told(words) {
    link.hidden = !words;
    if (link.textContent !== words) link.textContent = words;
  }
  function ask() {
    if (document.hidden) return void setTimeout(ask, every);
    fetch("state", { headers: tag ? { "If-None-Match": tag } : {} }).then(function (answer) {
      told("");
      if (answer.status !== 200) return null;
      tag = answer.headers.get("ETag");
      return answer.text().then(show);
    }).catch(function () {
      told("No answer: lab report --watch has ended. What is shown is the last that it said.");
    }).then(function () { setTimeout(ask, every); });
  }
  seen();
  setTimeout(ask, every);
})();
