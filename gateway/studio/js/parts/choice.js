/** One of a few. Native radio buttons: one tab stop, and arrows move. */

import { define, fresh, h, icon, keyed, Part, text } from '../lib/element.js';

class Choice extends Part {
	/** options: {id, label, icon?, disabled?}[] */
	static props = { label: '', options: [], value: '' };

	build() {
		this.name = fresh('choice');
		this.legend = h('legend.unseen');
		this.set = h('div');
		this.append(h('fieldset', this.legend, this.set));
		this.onchange = (event) => this.emit('choose', { id: event.target.value });
	}

	update() {
		text(this.legend, this.label);
		const make = ({ id, label, icon: picture }) => h('label', h('input', { type: 'radio', name: this.name, value: id }), picture && icon(picture), h('span', label));
		keyed(this.set, this.options, ({ id }) => id, make, ({ firstChild: radio }, { id, disabled }) => {
			radio.checked = id === this.value;
			radio.disabled = Boolean(disabled);
		});
	}
}
define('es-choice', Choice);
