/** Two pictures in one place, with a divider that a native slider moves. */

import { define, h, icon, Part } from '../lib/element.js';

class BeforeAfter extends Part {
	/** before, after: object URLs; size: of the result; before null: the result alone */
	static props = { before: null, after: null, size: { width: 4, height: 3 }, position: 46, alt: '', simulated: false };

	build() {
		this.old = h('img.before', { alt: 'Before the edit' });
		this.new = h('img.after');
		this.range = h('input', { type: 'range', min: 0, max: 100, step: 1, label: 'Divider between before and after', oninput: () => this.#move(this.range.valueAsNumber) });
		this.range.onkeydown = (event) => {
			const steps = { PageUp: 10, PageDown: -10 }[event.key];
			if (!steps) return;
			event.preventDefault();
			this.#move(Math.max(0, Math.min(100, this.position + steps)));
		};
		const tag = (words, where) => h(`span.tag.on-picture.corner.${where}`, words);
		const line = h('span.line', { 'aria-hidden': 'true' }, h('span.knob', icon('swap', 18)));
		this.two = [this.old, this.range, line, tag('Before', 'left'), tag('After', 'right')];
		this.mark = tag('SIMULATED', 'foot');
		this.frame = h('div.frame.checked', this.new, this.two, this.mark);
		this.append(h('div.view', this.frame));
	}

	#move(position) {
		this.position = position;
		this.emit('position-change', { position });
	}

	update(changed) {
		if (changed.has('after') && this.after) this.new.src = this.after;
		if (changed.has('before') && this.before) this.old.src = this.before;
		this.mark.hidden = !this.simulated;
		this.new.alt = this.alt || 'After the edit';
		for (const element of this.two) element.hidden = !this.before;
		this.frame.style.setProperty('--ratio', this.size.width / this.size.height);
		this.frame.style.setProperty('--at', this.before ? `${this.position}%` : '0%');
		this.range.value = String(this.position);
		this.range.setAttribute('aria-valuetext', `${this.position} percent before`);
	}
}
define('es-before-after', BeforeAfter);
