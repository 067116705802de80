/* The smallest guest that tells a KVM that works from one that only opens. It is started as a PVH kernel, like the
 * vmlinux of a Linux guest, and prints on the first serial port:
 *   S  in 64-bit mode with paging, before the work
 *   E  after it: SSE, fxsave, cmpxchg16b (a KVM that interprets instructions aborts here), 20 million rounds of a loop
 *   K  after five timer interrupts
 * The bytes in probe.ts come from:
 *   as --64 probe.S -o probe.o
 *   ld -m elf_x86_64 -N -z noseparate-code -Ttext 0x100000 -e start32 --build-id=none -s -o probe.elf probe.o
 */
.section .note.xen,"a",@note
        .long 4, 4, 18                  /* XEN_ELFNOTE_PHYS32_ENTRY */
        .asciz "Xen"
        .long start32

.text
.code32
.globl start32
start32:
        cli
        mov $stack, %esp
        movl $pdpt + 3, pml4            /* the first GiB, mapped onto itself in 2 MiB pages */
        movl $pd + 3, pdpt
        mov $pd, %edi
        mov $0x83, %eax
        mov $512, %ecx
1:      mov %eax, (%edi)
        add $0x200000, %eax
        add $8, %edi
        loop 1b
        mov $0x620, %eax                /* PAE, OSFXSR, OSXMMEXCPT */
        mov %eax, %cr4
        mov $pml4, %eax
        mov %eax, %cr3
        mov $0xc0000080, %ecx           /* EFER.LME */
        rdmsr
        or $0x100, %eax
        wrmsr
        mov $0x80000003, %eax           /* PG, MP, PE */
        mov %eax, %cr0
        lgdt gdtr
        ljmp $8, $start64

.code64
start64:
        mov $16, %eax
        mov %eax, %ds
        mov %eax, %es
        mov %eax, %ss
        mov $'S', %al
        call say

        fninit
        fxsave area
        pxor %xmm0, %xmm0
        addpd %xmm0, %xmm0
        movaps %xmm0, area
        xor %eax, %eax
        xor %edx, %edx
        xor %ebx, %ebx
        xor %ecx, %ecx
        lock cmpxchg16b area
        mov $20000000, %ecx
1:      mov %ecx, area
        dec %ecx
        jnz 1b
        mov $'E', %al
        call say

        mov $tick, %eax                 /* interrupt 32 */
        mov $idt + 32 * 16, %edi
        mov %ax, (%rdi)
        movw $8, 2(%rdi)
        movw $0x8e00, 4(%rdi)
        shr $16, %eax
        mov %ax, 6(%rdi)
        lidt idtr
        mov $0x11, %al                  /* the two 8259: vectors from 32, only the timer */
        out %al, $0x20
        out %al, $0xa0
        mov $32, %al
        out %al, $0x21
        mov $40, %al
        out %al, $0xa1
        mov $4, %al
        out %al, $0x21
        mov $2, %al
        out %al, $0xa1
        mov $1, %al
        out %al, $0x21
        out %al, $0xa1
        mov $0xfe, %al
        out %al, $0x21
        mov $0xff, %al
        out %al, $0xa1
        mov $0x34, %al                  /* the 8254: 100 Hz */
        out %al, $0x43
        mov $0x9c, %al
        out %al, $0x40
        mov $0x2e, %al
        out %al, $0x40
        sti
1:      hlt
        cmpl $5, ticks
        jb 1b
        mov $'K', %al
        call say
        cli
1:      hlt
        jmp 1b

say:    mov $0x3f8, %dx
        out %al, %dx
        ret

tick:   push %rax
        incl ticks
        mov $0x20, %al
        out %al, $0x20
        pop %rax
        iretq

.balign 8
gdt:    .quad 0, 0x00af9a000000ffff, 0x00cf92000000ffff
gdtr:   .word 23
        .quad gdt
idtr:   .word 33 * 16 - 1
        .quad idt

.bss
.balign 4096
pml4:   .skip 4096
pdpt:   .skip 4096
pd:     .skip 4096
idt:    .skip 4096
area:   .skip 512
ticks:  .skip 8
        .skip 1024
stack:
