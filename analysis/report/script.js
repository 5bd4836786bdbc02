"use strict";
(function () {
  // Values of marks: the SVG's own titles become one quick tooltip, for the mouse, touch and arrow keys. All
  // marks of one run light up together, in every figure and in the table.
  var hint = document.getElementById("hint"), current = null, lit = [];
  function hide() {
    hint.hidden = true;
    if (current) current.classList.remove("on");
    lit.forEach(function (one) { one.classList.remove("lit"); });
    lit = [];
    current = null;
  }
  function show(mark) {
    hide();
    current = mark;
    mark.classList.add("on");
    var run = mark.getAttribute("data-run");
    if (run) lit = Array.prototype.slice.call(document.querySelectorAll('[data-run="' + CSS.escape(run) + '"]'));
    lit.forEach(function (one) { one.classList.add("lit"); });
    hint.textContent = mark.getAttribute("data-hint");
    hint.hidden = false;
    var box = mark.getBoundingClientRect(), own = hint.getBoundingClientRect();
    var left = Math.min(Math.max(8, box.left + box.width / 2 - own.width / 2), innerWidth - own.width - 8);
    var top = box.top - own.height - 8;
    hint.style.left = left + "px";
    hint.style.top = (top < 8 ? box.bottom + 8 : top) + "px";
  }
  window.speak = function (svg, marks) {
    svg.addEventListener("pointerover", function (event) {
      var mark = event.target.closest("[data-hint]");
      if (mark) show(mark); else hide();
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", function (event) {
      var step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key], all = marks();
      if (event.key === "Escape") hide();
      if (!step || !all.length) return;
      event.preventDefault();
      var at = all.indexOf(current);
      show(all[at < 0 ? (step > 0 ? 0 : all.length - 1) : (at + step + all.length) % all.length]);
    });
  };
  document.querySelectorAll("figure .paper svg").forEach(function (svg) {
    var marks = [];
    svg.querySelectorAll("use > title, path > title").forEach(function (title) {
      var mark = title.parentNode;
      mark.setAttribute("data-hint", title.textContent);
      title.remove();
      marks.push(mark);
    });
    if (!marks.length) return;
    svg.setAttribute("tabindex", "0");
    svg.setAttribute("aria-describedby", "hint");
    window.speak(svg, function () { return marks; });
  });
  document.querySelectorAll("figure .links").forEach(function (links) {
    var button = document.createElement("button"), figure = links.closest("figure");
    button.type = "button";
    button.textContent = "Enlarge";
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", function () {
      var large = figure.classList.toggle("large");
      button.textContent = large ? "Smaller" : "Enlarge";
      button.setAttribute("aria-pressed", String(large));
    });
    links.appendChild(button);
  });
  addEventListener("scroll", hide, true);

  // Tables sort by a click on a header; numbers by their value, not by their text.
  function value(row, column) {
    var cell = row.cells[column];
    if (!cell) return "";
    return cell.hasAttribute("data-v") ? parseFloat(cell.getAttribute("data-v")) : cell.textContent;
  }
  function order(a, b) {
    var numbers = typeof a === "number" && typeof b === "number";
    if (numbers) return isNaN(a) ? (isNaN(b) ? 0 : 1) : isNaN(b) ? -1 : a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return a.localeCompare(b, undefined, { numeric: true });
  }
  document.querySelectorAll("table.sortable").forEach(function (table) {
    var heads = Array.prototype.slice.call(table.tHead.rows[0].cells);
    heads.forEach(function (head, column) {
      var button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.textContent = "";
      head.appendChild(button);
      button.addEventListener("click", function () {
        var up = head.getAttribute("aria-sort") !== "ascending", body = table.tBodies[0];
        heads.forEach(function (other) { other.removeAttribute("aria-sort"); });
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        Array.prototype.slice.call(body.rows).sort(function (a, b) {
          var way = order(value(a, column), value(b, column));
          return up ? way : -way;
        }).forEach(function (row) { body.appendChild(row); });
      });
    });
  });
})();
