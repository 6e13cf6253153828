/** What can be done with a result, and what it really cost. */

import { button, define, h, Part, press, sign, text } from '../lib/element.js';
import { charged, took } from '../jobs.js';
import { sizeLabel } from '../pictures.js';
import { secondsLabel } from '../models.js';

class ResultBar extends Part {
	static props = { job: null, name: '', rated: 0 };

	build() {
		this.heading = h('strong.cut');
		this.about = h('span.quiet');
		const act = (picture, words, event) => Object.assign(button(picture, words, () => this.emit(event)), { title: words });
		const rate = (picture, words, rating) => sign(picture, words, () => this.emit('rate', { rating }));
		this.like = rate('like', 'Good result', 5);
		this.dislike = rate('dislike', 'Poor result', 1);
		this.append(h('div.floating', { role: 'group', label: 'The result' }, h('div.about', this.heading, this.about), h('span.rule'),
			act('again', 'Again', 'again'), act('columns', 'Compare', 'compare'), this.like, this.dislike, act('right', 'Use as source', 'use-as-source'), sign('help', 'Details', () => this.emit('details')),
			button('download', 'Download', () => this.emit('download'), 'button.main')));
	}

	update() {
		const { job, rated } = this;
		if (!job?.output) return;
		text(this.heading, this.name);
		text(this.about, `${charged(job)} · ${sizeLabel(job.output)} · ${secondsLabel(took(job))}`);
		press(this.like, rated >= 4);
		press(this.dislike, rated > 0 && rated <= 2);
	}
}
define('es-result-bar', ResultBar);
