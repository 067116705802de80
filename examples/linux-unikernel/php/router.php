<?php
// Runs at every request. The application is whatever volume /code points at right now.
declare(strict_types=1);

$guest = json_decode((string) file_get_contents('/run/guest.json'));
if ($guest->slow > 0) {
    usleep($guest->slow * 1000);
}
$path = rawurldecode((string) parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH));
[$code, $held] = hold_code();

if ($path === getenv('UNIDEPLOY_HEALTH')) {
    $ill = match (true) {
        !$guest->healthy => 'unhealthy',
        $code === null && $guest->waitVolume => 'no volume',
        default => null,
    };
    say($ill ? 503 : 200, $ill ?? 'ok');
} elseif ($path === '/.unideploy/revision') {
    $revision = $code === null ? (string) getenv('UNIDEPLOY_REVISION') : revision_of($code);
    say($revision === '' ? 404 : 200, $revision === '' ? 'no revision' : $revision);
} elseif ($path === '/.unideploy/wake' && $_SERVER['REQUEST_METHOD'] === 'POST') {
    $answer = wake((string) file_get_contents('php://input'));
    say($answer === 'ok' ? 200 : 400, $answer);
} elseif ($path === '/.unideploy/echo' && $_SERVER['REQUEST_METHOD'] === 'POST') {
    header('Content-Type: application/octet-stream');
    echo file_get_contents('php://input');
} elseif ($code === null) {
    say(503, 'no volume');
} elseif ($guest->errors > 0 && error_now($guest->errors)) {
    say(500, 'fault errors');
} else {
    header('X-Unideploy-Revision: ' . revision_of($code));
    if (!send_asset($code, $path)) {
        chdir($code);
        $_SERVER['DOCUMENT_ROOT'] = $code;
        $_SERVER['SCRIPT_NAME'] = '/index.php';
        $_SERVER['SCRIPT_FILENAME'] = "$code/index.php";
        include "$code/index.php";
    }
}

/**
 * The current volume's folder, and its open directory: as long as that is open, PID 1 cannot unmount
 * the volume. Whoever loses the race against a swap between the two looks again.
 */
function hold_code(): array
{
    for ($try = 0; $try < 50; $try++) {
        $code = @readlink('/code');
        if ($code === false) {
            return [null, null];
        }
        $held = @opendir($code);
        if ($held !== false && @readlink('/code') === $code) {
            return [$code, $held];
        }
        usleep(1000);
    }
    return [null, null];
}

/**
 * A copy of another guest is told who it is. PID 1 sees to it; PHP itself has nothing to forget: it seeds its own
 * generators anew at each request, from the kernel's.
 */
function wake(string $json): string
{
    $machine = stream_socket_client('unix:///run/wake', timeout: 2);
    if ($machine === false) {
        return 'nobody to tell';
    }
    fwrite($machine, str_replace("\n", ' ', $json) . "\n");
    return trim((string) fgets($machine));
}

function revision_of(string $code): string
{
    return trim((string) @file_get_contents("$code/.unideploy/revision"));
}

function say(int $status, string $text): void
{
    http_response_code($status);
    header('Content-Type: text/plain; charset=utf-8');
    echo $text, "\n";
}

/** Sends what is a plain file of the volume; PHP sources and hidden files never are. */
function send_asset(string $code, string $path): bool
{
    $types = [
        'css' => 'text/css; charset=utf-8', 'js' => 'text/javascript; charset=utf-8',
        'html' => 'text/html; charset=utf-8', 'txt' => 'text/plain; charset=utf-8',
        'json' => 'application/json', 'svg' => 'image/svg+xml', 'png' => 'image/png',
        'jpg' => 'image/jpeg', 'ico' => 'image/x-icon', 'woff2' => 'font/woff2',
    ];
    $type = $types[strtolower(pathinfo($path, PATHINFO_EXTENSION))] ?? null;
    if ($type === null || str_contains($path, "\0") || str_contains($path, '/.')) {
        return false;
    }
    $file = realpath($code . $path);
    if ($file === false || !str_starts_with($file, "$code/") || !is_file($file)) {
        return false;
    }
    header("Content-Type: $type");
    header('Content-Length: ' . filesize($file));
    if ($_SERVER['REQUEST_METHOD'] !== 'HEAD') {
        // Not readfile(): it maps the file, and a mapped file of a disk that goes kills the worker.
        echo file_get_contents($file);
    }
    return true;
}

/** Spread evenly by a counter that the worker processes share. */
function error_now(int $percent): bool
{
    $file = fopen('/run/errors', 'c+');
    flock($file, LOCK_EX);
    $share = (int) stream_get_contents($file) + $percent;
    rewind($file);
    ftruncate($file, 0);
    fwrite($file, (string) ($share >= 100 ? $share - 100 : $share));
    fclose($file);
    return $share >= 100;
}
