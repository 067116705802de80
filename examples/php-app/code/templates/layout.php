<!doctype html>
<html lang="en">
<head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title><?= $escape($title) ?></title>
    <link rel="stylesheet" href="/assets/style.css">
</head>
<body>
    <header>
        <strong>php-app</strong>
        <nav><a href="/">Home</a> <a href="/about">About</a></nav>
    </header>
    <main>
        <h1><?= $escape($title) ?></h1>
        <?php require __DIR__ . "/$template.php"; ?>
    </main>
    <footer>Version <?= $escape(VERSION) ?>, PHP <?= PHP_VERSION ?></footer>
</body>
</html>
