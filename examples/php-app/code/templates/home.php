<p>Hello, <em><?= $escape($name) ?></em>.</p>
<form method="get" action="/">
    <label>Your name <input name="name" value="<?= $escape($name) ?>"></label>
    <button>Greet me</button>
</form>
