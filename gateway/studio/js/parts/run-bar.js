/** What it costs, the button that does it, and one reason when it cannot. */

import { attribute, define, h, icon, link, Part, text } from '../lib/element.js';
import { money } from '../cost.js';

class RunBar extends Part {
	/** label, picture: of the button; title: over the sum; blocked: the reason; action: a model that would do */
	static props = { label: 'Run edit', picture: 'wand', title: 'Estimated cost', usd: null, about: [], blocked: '', busy: false, action: null };

	build() {
		this.heading = h('div.quiet');
		this.amount = h('div.amount');
		this.lines = h('div.quiet');
		this.words = h('span');
		this.sign = h('span');
		this.why = h('p.why', { id: 'run-why' });
		this.button = h('button.button.main.run', { 'aria-describedby': 'run-why', onclick: () => !this.busy && this.emit('run') },
			this.sign, this.words, h('kbd', { 'aria-hidden': 'true' }, /Mac|iP/.test(navigator.platform) ? '⌘ ↵' : 'Ctrl ↵'));
		this.append(h('div.sum', h('div', this.heading, this.amount), this.lines), this.button, this.why);
	}

	update(changed) {
		text(this.heading, this.title);
		text(this.amount, money(this.usd));
		this.lines.replaceChildren(...this.about.map((line) => h('div', line)));
		if (changed.has('picture')) this.sign.replaceChildren(icon(this.picture));
		text(this.words, this.busy ? 'Sending' : this.label);
		attribute(this.button, 'aria-disabled', this.blocked || this.busy ? 'true' : null);
		if (changed.has('blocked') || changed.has('action')) {
			const { action } = this;
			this.why.replaceChildren(this.blocked, ...(action ? [' ', link(action.label, () => this.emit('model-select', { id: action.id, from: 'budget' }))] : []));
		}
	}
}
define('es-run-bar', RunBar);
