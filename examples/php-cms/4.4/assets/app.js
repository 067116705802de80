document.documentElement.dataset.script = '4.4';
