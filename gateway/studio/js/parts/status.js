import { define, h, icon, link, Part, sign, text } from '../lib/element.js';
import { money } from '../cost.js';

const TOASTS_MAX = 3;
const TOAST_MS = 8000;

class Budget extends Part {
	static props = { budget: null };

	update() {
		if (!this.budget) return this.replaceChildren();
		const { left, limit, used, period } = this.budget;
		const level = used >= 0.9 ? 'red' : used >= 0.75 ? 'amber' : '';
		const bar = h('i');
		bar.style.width = `${Math.round(used * 100)}%`;
		const words = `${money(left)} of ${money(limit)} left ${period}`;
		this.title = words;
		return this.replaceChildren(h('span', h('strong', left === 0 ? '$0.00' : money(left)), h('span.quiet', ' left')), h('span', { class: `bar-meter ${level}`, role: 'img', label: `${words}${level && ', little is left'}` }, bar));
	}
}
define('es-budget', Budget);

const STATES = { live: ['Live', 'News comes as it happens'], polling: ['Polling', 'The stream does not hold: the page asks every few seconds'], offline: ['Offline', 'No connection; edits that were sent go on'] };

class Connection extends Part {
	static props = { state: 'live' };

	build() {
		this.words = h('span.words');
		this.append(h('i', { 'aria-hidden': 'true' }), this.words);
	}

	update() {
		const [label, about] = STATES[this.state];
		this.setAttribute('state', this.state);
		text(this.words, label);
		this.title = about;
	}
}
define('es-connection', Connection);

class Toasts extends Part {
	static props = {};

	build() {
		this.box = h('div.toasts', { role: 'region', label: 'Messages', popover: 'manual' });
		this.append(this.box);
	}

	/** Errors stay until they are closed. @param {string} words @param {{bad?: boolean, requestId?: string}} [more] */
	show(words, { bad = false, requestId = '' } = {}) {
		const close = () => {
			toast.remove();
			if (!this.box.childElementCount) this.box.hidePopover();
		};
		const copy = requestId && link(`Copy request ${requestId.slice(0, 12)}…`, () => navigator.clipboard?.writeText(requestId));
		const toast = h(`div.toast${bad ? '.bad' : ''}`, { role: bad ? 'alert' : 'status' }, icon(bad ? 'alert' : 'check', 17), h('div.grow', h('div', words), copy), sign('close', 'Close the message', close));
		this.box.append(toast);
		while (this.box.childElementCount > TOASTS_MAX) this.box.firstElementChild.remove();
		// On top of whatever dialog is open by now.
		this.box.hidePopover();
		this.box.showPopover();
		if (!bad) setTimeout(close, TOAST_MS);
	}
}
define('es-toasts', Toasts);
