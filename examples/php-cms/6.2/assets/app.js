document.documentElement.dataset.script = '6.2';
