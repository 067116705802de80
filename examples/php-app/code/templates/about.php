<p>This application lives on a partition of its own. A new version is a new partition, attached to the
running machine; the next request is answered by it.</p>
