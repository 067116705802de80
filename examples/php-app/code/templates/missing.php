<p>There is no such page. <a href="/">Go home</a>.</p>
