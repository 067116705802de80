<?php
declare(strict_types=1);

require_once __DIR__ . '/version.php';
require_once __DIR__ . '/session.php';

session_set_save_handler(new CookieSession(), true);
session_start();
$visits = $_SESSION['visits'] = ($_SESSION['visits'] ?? 0) + 1;
session_write_close();
header('Cache-Control: no-store');
?>
<!doctype html>
<html lang="en" data-version="<?= VERSION ?>" data-visits="<?= $visits ?>">
<head>
    <meta charset="utf-8">
    <title>CMS <?= VERSION ?></title>
    <link rel="stylesheet" href="<?= ASSETS ?>/style.css">
    <script src="<?= ASSETS ?>/app.js" defer></script>
</head>
<body>
    <h1>CMS <?= VERSION ?></h1>
    <p>Page views of yours: <?= $visits ?></p>
    <img src="<?= ASSETS ?>/logo.svg" alt="Version <?= VERSION ?>">
</body>
</html>
