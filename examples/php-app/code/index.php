<?php
// A front controller: one file decides which page a path means, templates draw it.
declare(strict_types=1);

require_once __DIR__ . '/version.php';

$pages = [
    '/' => ['home', 'Guest book'],
    '/about' => ['about', 'About'],
];
$path = rtrim((string) parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH), '/') ?: '/';
[$template, $title] = $pages[$path] ?? ['missing', 'Not found'];

if ($template === 'missing') {
    http_response_code(404);
}
$escape = static fn (string $text): string => htmlspecialchars($text, ENT_QUOTES);
$name = (string) ($_GET['name'] ?? 'visitor');

require __DIR__ . '/templates/layout.php';
