/** ModelRecommendationBadge: which model and why; can be dismissed. */

import { define, h, icon, link, Part, sign } from '../lib/element.js';
import { ratio } from '../cost.js';
import { sentence } from '../models.js';

class RecommendationBadge extends Part {
	/** recommended, chosen: models; chosen null for Auto. reason: of the recommendation; failed: why there is none */
	static props = { recommended: null, chosen: null, reason: '', smaller: false, dismissed: false, failed: '' };

	update() {
		const { recommended: model, chosen } = this;
		if (this.failed) return this.#show('alert', 'No model can be recommended', this.failed);
		if (!model || this.dismissed) return this.replaceChildren();
		const links = [link('Why this model?', () => this.emit('why'))];
		const words = [this.reason];
		const differs = chosen && chosen.id !== model.id;
		if (differs) {
			words.push(sentence(ratio(model.cost, chosen.cost).replace('=', 'same price')));
			links.unshift(link('Use it', () => this.emit('model-select', { id: model.id, from: 'recommendation' })));
		}
		if (this.smaller) words.push('It works smaller than this picture; the result is scaled back');
		return this.#show('star', differs ? `We would pick ${model.name}` : 'Recommended for you', words.map((one) => `${one}.`).join(' '), links);
	}

	#show(picture, title, words, links) {
		const dismiss = links && sign('close', 'Dismiss the recommendation', () => this.emit('dismiss'));
		const focused = this.contains(document.activeElement);
		this.replaceChildren(h(`div.badge${links ? '' : '.warns'}`, { role: 'group', label: 'Recommendation' }, icon(picture, 16), h('div.words', h('strong', title), h('span', words), links && h('span.row', links)), dismiss));
		if (focused) this.querySelector('button')?.focus();
	}
}
define('es-recommendation', RecommendationBadge);
